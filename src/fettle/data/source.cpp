#include "fettle/data/source.h"

#include <zlib.h>
#include <zstd.h>

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
  if (starts(head, "\x28\xb5\x2f\xfd"sv)) refuse("a zstd file", "name it .zst");
  if (starts(head, "BZh"sv)) refuse("a bzip2 file", "unpack it");
  if (starts(head, "\xfd\x37zXZ"sv)) refuse("an xz file", "unpack it");
  if (starts(head, "PAR1"sv)) refuse("a Parquet file", "convert it to JSON lines");
  if (starts(head, "ARROW1"sv)) refuse("an Arrow file", "convert it to JSON lines");
  bool wide = starts(head, "\xff\xfe"sv) || starts(head, "\xfe\xff"sv);
  bool bare = head.size() >= 2 && (head[0] == 0) != (head[1] == 0);  // ASCII in two bytes, without a mark
  if (wide || bare) refuse("UTF-16", "save it as UTF-8");
}

// Text out of a packed file, piece by piece. What grows without measure is refused.
class Unpacker {
 public:
  explicit Unpacker(const MappedFile& file) : file_(file) {
    std::span<const std::byte> bytes = file.bytes();
    input_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    piece_.resize(kPiece);
  }
  virtual ~Unpacker() = default;
  /// Empty at the end.
  std::string_view next() {
    // A piece may be empty only at the end.
    std::string_view part(piece_.data(), done_ ? 0 : fill());
    produced_ += part.size();
    if (produced_ > kFreeGrowth && produced_ / kMaxRatio > file_.size())
      fail_input("{}: inflates to more than {} times its size; unpack it yourself if that is meant",
                 file_.path().string(), kMaxRatio);
    return part;
  }

 protected:
  /// Fills piece_ and says how far; sets done_ at the end of the data.
  virtual size_t fill() = 0;
  [[noreturn]] void fail(const char* what, const std::string& why) const {
    fail_input("{}: {} {}", file_.path().string(), what, why);
  }
  const MappedFile& file_;
  std::string_view input_;  ///< what is left of the file
  std::string piece_;
  bool done_ = false;

 private:
  uint64_t produced_ = 0;
};

class GzipUnpacker final : public Unpacker {
 public:
  explicit GzipUnpacker(const MappedFile& file) : Unpacker(file) {
    if (!starts(input_, "\x1f\x8b")) fail("not a gzip file,", "though its name ends in .gz");
    if (inflateInit2(&stream_, 15 + 16) != Z_OK)
      fail_resources("{}: no memory to inflate", file.path().string());
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

 private:
  size_t fill() override {
    stream_.next_out = reinterpret_cast<Bytef*>(piece_.data());
    stream_.avail_out = static_cast<uInt>(piece_.size());
    while (!done_ && stream_.avail_out > 0) {
      if (stream_.avail_in == 0) {
        std::string_view part = input_.substr(0, size_t{1} << 30);
        if (part.empty()) fail("the gzip file", "ends early");
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
        stream_.avail_in = static_cast<uInt>(part.size());
        input_.remove_prefix(part.size());
      }
      int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        // gzip files may be concatenated; anything else behind the end is padding.
        std::string_view rest(reinterpret_cast<const char*>(stream_.next_in), stream_.avail_in);
        bool more = starts(rest, "\x1f\x8b") || (rest.empty() && starts(input_, "\x1f\x8b"));
        if (!more)
          done_ = true;
        else
          inflateReset(&stream_);
      } else if (status != Z_OK) {
        fail("damaged gzip file:", stream_.msg ? stream_.msg : "bad data");
      }
    }
    return piece_.size() - stream_.avail_out;
  }
  z_stream stream_{};
};

class ZstdUnpacker final : public Unpacker {
 public:
  explicit ZstdUnpacker(const MappedFile& file)
      : Unpacker(file), stream_(ZSTD_createDStream(), ZSTD_freeDStream) {
    if (!starts(input_, "\x28\xb5\x2f\xfd")) fail("not a zstd file,", "though its name ends in .zst");
    if (!stream_) fail_resources("{}: no memory to unpack", file.path().string());
    // 128 MiB of window at most, whatever the file asks for.
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, 27);
    in_ = {input_.data(), input_.size(), 0};
  }

 private:
  size_t fill() override {
    ZSTD_outBuffer out{piece_.data(), piece_.size(), 0};
    while (out.pos < out.size) {
      if (at_frame_end_ && in_.pos == in_.size) {
        done_ = true;
        break;
      }
      size_t before = out.pos, read = in_.pos;
      size_t status = ZSTD_decompressStream(stream_.get(), &out, &in_);
      if (ZSTD_isError(status)) fail("damaged zstd file:", ZSTD_getErrorName(status));
      at_frame_end_ = status == 0;
      if (!at_frame_end_ && out.pos == before && in_.pos == read) fail("the zstd file", "ends early");
    }
    return out.pos;
  }
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
  ZSTD_inBuffer in_{};
  bool at_frame_end_ = false;
};

}  // namespace

fs::path without_packing(const fs::path& path) {
  return path.extension() == ".gz" || path.extension() == ".zst" ? path.parent_path() / path.stem() : path;
}

struct TextSource::State {
  MappedFile file;
  std::unique_ptr<Unpacker> unpacker;  ///< null: plain text
  std::string_view input;
  bool first = true;

  explicit State(const fs::path& path) : file(path) {
    std::span<const std::byte> bytes = file.bytes();
    input = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    if (path.extension() == ".gz") unpacker = std::make_unique<GzipUnpacker>(file);
    if (path.extension() == ".zst") unpacker = std::make_unique<ZstdUnpacker>(file);
  }

  std::string_view next() {
    if (unpacker) return unpacker->next();
    std::string_view part = input.substr(0, kPiece);
    input.remove_prefix(part.size());
    return part;
  }
};

TextSource::TextSource(const fs::path& path) : state_(std::make_unique<State>(path)) {}
TextSource::~TextSource() = default;

std::string_view TextSource::next() {
  State& s = *state_;
  std::string_view part = s.next();
  if (!s.first) return part;
  s.first = false;
  refuse_foreign(part, s.file.path());
  if (starts(part, "\xEF\xBB\xBF")) part.remove_prefix(3);
  return part.empty() ? s.next() : part;
}

}  // namespace fettle
