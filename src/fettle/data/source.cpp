#include "fettle/data/source.h"

#include <zlib.h>

#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/base/file.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr uint64_t kFreeGrowth = uint64_t{64} << 20;
constexpr uint64_t kMaxRatio = 256;

bool starts(std::string_view bytes, std::string_view magic) {
  return bytes.substr(0, magic.size()) == magic;
}

// Files that are no text under a name that says so.
void refuse_foreign(std::string_view head, const fs::path& path) {
  using namespace std::string_view_literals;
  auto refuse = [&](const char* what, const char* advice) {
    fail_input("{}: this is {}, expected UTF-8 text; {}", path.string(), what, advice);
  };
  if (starts(head, "\x1f\x8b"sv)) refuse("a gzip file", "name it .gz or unpack it");
  if (starts(head, "PK\x03\x04"sv)) refuse("a zip archive", "unpack it");
  if (starts(head, "\x28\xb5\x2f\xfd"sv)) refuse("a zstd file", "unpack it with zstd -d");
  if (starts(head, "BZh"sv)) refuse("a bzip2 file", "unpack it");
  if (starts(head, "\xfd\x37zXZ"sv)) refuse("an xz file", "unpack it");
  if (starts(head, "PAR1"sv)) refuse("a Parquet file", "convert it to JSON lines");
  if (starts(head, "ARROW1"sv)) refuse("an Arrow file", "convert it to JSON lines");
  bool wide = starts(head, "\xff\xfe"sv) || starts(head, "\xfe\xff"sv);
  bool bare = head.size() >= 2 && (head[0] == 0) != (head[1] == 0);  // ASCII in two bytes, without a mark
  if (wide || bare) refuse("UTF-16", "save it as UTF-8");
}

}  // namespace

fs::path without_gz(const fs::path& path) {
  return path.extension() == ".gz" ? path.parent_path() / path.stem() : path;
}

struct TextSource::State {
  MappedFile file;
  std::string_view input;  ///< what is left of the file
  bool gzip = false, first = true, done = false;
  z_stream stream{};
  uint64_t produced = 0;
  std::string piece;

  explicit State(const fs::path& path) : file(path) {
    std::span<const std::byte> bytes = file.bytes();
    input = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    gzip = path.extension() == ".gz";
    if (!gzip) return;
    if (!starts(input, "\x1f\x8b"))
      fail_input("{}: not a gzip file, though its name ends in .gz", path.string());
    if (inflateInit2(&stream, 15 + 16) != Z_OK) fail_resources("{}: no memory to inflate", path.string());
    piece.resize(kPiece);
  }
  ~State() {
    if (gzip) inflateEnd(&stream);
  }

  std::string_view plain() {
    std::string_view part = input.substr(0, kPiece);
    input.remove_prefix(part.size());
    return part;
  }

  std::string_view inflated() {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    while (!done && stream.avail_out > 0) {
      if (stream.avail_in == 0) {
        std::string_view part = input.substr(0, size_t{1} << 30);
        if (part.empty()) fail_input("{}: the gzip file ends early", file.path().string());
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
        stream.avail_in = static_cast<uInt>(part.size());
        input.remove_prefix(part.size());
      }
      int status = inflate(&stream, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        // gzip files may be concatenated; anything else behind the end is padding.
        std::string_view rest(reinterpret_cast<const char*>(stream.next_in), stream.avail_in);
        bool more = starts(rest, "\x1f\x8b") || (rest.empty() && starts(input, "\x1f\x8b"));
        if (!more)
          done = true;
        else
          inflateReset(&stream);
      } else if (status != Z_OK) {
        fail_input("{}: damaged gzip file: {}", file.path().string(), stream.msg ? stream.msg : "bad data");
      }
    }
    std::string_view part(piece.data(), piece.size() - stream.avail_out);
    produced += part.size();
    if (produced > kFreeGrowth && produced / kMaxRatio > file.size())
      fail_input("{}: inflates to more than {} times its size; unpack it yourself if that is meant",
                 file.path().string(), kMaxRatio);
    return part;
  }
};

TextSource::TextSource(const fs::path& path) : state_(std::make_unique<State>(path)) {}
TextSource::~TextSource() = default;

std::string_view TextSource::next() {
  State& s = *state_;
  std::string_view part = s.gzip ? s.inflated() : s.plain();
  if (!s.first) return part;
  s.first = false;
  refuse_foreign(part, s.file.path());
  if (starts(part, "\xEF\xBB\xBF")) part.remove_prefix(3);
  if (!part.empty()) return part;
  return s.gzip ? s.inflated() : s.plain();
}

}  // namespace fettle
