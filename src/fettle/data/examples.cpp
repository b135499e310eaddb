#include "fettle/data/examples.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr const char* kIds = "ids.i32";
constexpr const char* kLabels = "labels.i32";
constexpr const char* kBegins = "begins.u64";
constexpr const char* kOrigins = "origins.txt";
constexpr size_t kPending = size_t{4} << 20;  ///< bytes held before they are written

// A file of values, appended to and then mapped.
template <typename T>
class Column {
 public:
  void write_to(const fs::path& path) { file_.emplace(path); }
  void append(const T* values, size_t count) {
    pending_.insert(pending_.end(), values, values + count);
    size_ += count;
    if (file_ && pending_.size() * sizeof(T) >= kPending) flush();
  }
  void seal(const fs::path& path) {
    flush();
    file_->commit();
    file_.reset();
    map(path);
  }
  void map(const fs::path& path) {
    size_ = static_cast<size_t>(fs::file_size(path)) / sizeof(T);
    if (fs::file_size(path) % sizeof(T) != 0)
      fail_input("{}: {} bytes, which is no whole number of values; it is damaged, delete its folder",
                 path.string(), fs::file_size(path));
    if (size_ > 0) mapped_.emplace(path);
  }
  std::span<const T> values() const {
    if (mapped_) return {reinterpret_cast<const T*>(mapped_->bytes().data()), size_};
    return {pending_.data(), pending_.size()};
  }
  size_t size() const { return size_; }

 private:
  void flush() {
    file_->write(std::as_bytes(std::span(pending_)));
    pending_.clear();
  }
  std::vector<T> pending_;  // in memory: all of them
  size_t size_ = 0;
  std::optional<AtomicFile> file_;
  std::optional<MappedFile> mapped_;
};

}  // namespace

class Examples::Store {
 public:
  Store() { begin_row(); }
  explicit Store(fs::path folder) : folder_(std::move(folder)) {
    ids_.write_to(folder_ / kIds);
    labels_.write_to(folder_ / kLabels);
    begins_.write_to(folder_ / kBegins);
    origins_.write_to(folder_ / kOrigins);
    begin_row();
  }
  struct Existing {};
  Store(Existing, fs::path folder) : folder_(std::move(folder)), sealed_(true) {
    for (const char* name : {kIds, kLabels, kBegins, kOrigins})
      if (!fs::is_regular_file(folder_ / name))
        fail_input("{}: {} is missing; delete the folder to make it anew", folder_.string(), name);
    ids_.map(folder_ / kIds);
    labels_.map(folder_ / kLabels);
    begins_.map(folder_ / kBegins);
    origins_.map(folder_ / kOrigins);
  }

  size_t samples() const { return begins_.size() / 2 - 1; }

  uint64_t append(std::span<const int32_t> ids, std::span<const int32_t> labels, std::string_view origin) {
    FETTLE_CHECK(!sealed_, "rows are appended to a finished set");
    ids_.append(ids.data(), ids.size());
    labels_.append(labels.data(), labels.size());
    origins_.append(origin.data(), origin.size());
    begin_row();
    return count_++;
  }

  void seal() {
    if (folder_.empty() || sealed_) return;
    ids_.seal(folder_ / kIds);
    labels_.seal(folder_ / kLabels);
    begins_.seal(folder_ / kBegins);
    origins_.seal(folder_ / kOrigins);
    sealed_ = true;
  }

  void check(int64_t vocab_size) const {
    auto damaged = [&](const std::string& what) {
      fail_input("{}: {}; it is damaged or made for another model, delete the folder", folder_.string(),
                 what);
    };
    std::span<const uint64_t> begins = begins_.values();
    if (begins.size() < 2 || begins.size() % 2 != 0 || begins[0] != 0 || begins[1] != 0 ||
        begins[begins.size() - 2] != ids_.size() || begins.back() != origins_.size() ||
        ids_.size() != labels_.size())
      damaged("its files do not fit together");
    for (size_t i = 2; i < begins.size(); ++i)
      if (begins[i] < begins[i - 2]) damaged(fmt::format("row {} begins before the one before it", i / 2));
    for (int32_t id : ids_.values())
      if (id < 0 || id >= vocab_size)
        damaged(fmt::format("token id {} is not in a vocabulary of {}", id, vocab_size));
    for (int32_t label : labels_.values())
      if (label != kIgnoreLabel && (label < 0 || label >= vocab_size))
        damaged(fmt::format("label {} is not in a vocabulary of {}", label, vocab_size));
  }

  std::span<const int32_t> ids(uint64_t sample) const { return part(ids_, sample, 0); }
  std::span<const int32_t> labels(uint64_t sample) const { return part(labels_, sample, 0); }
  std::span<const char> origin(uint64_t sample) const { return part(origins_, sample, 1); }

 private:
  // Where tokens and origin of the next row begin.
  void begin_row() {
    const uint64_t at[2] = {ids_.size(), origins_.size()};
    begins_.append(at, 2);
  }
  template <typename T>
  std::span<const T> part(const Column<T>& column, uint64_t sample, size_t which) const {
    FETTLE_CHECK(folder_.empty() || sealed_, "rows in files are read when all are there");
    std::span<const uint64_t> begins = begins_.values();
    const size_t begin = begins[2 * sample + which], end = begins[2 * sample + 2 + which];
    return column.values().subspan(begin, end - begin);
  }

  fs::path folder_;
  bool sealed_ = false;
  uint64_t count_ = 0;
  Column<int32_t> ids_, labels_;
  Column<uint64_t> begins_;
  Column<char> origins_;
};

Examples::Examples() : store_(std::make_shared<Store>()) {}

Examples::Examples(const std::vector<Example>& rows) : Examples() {
  for (const Example& row : rows) append(row, "");
}

Examples Examples::in_files(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail_resources("{}: cannot create: {}", folder.string(), error.message());
  Examples examples;
  examples.store_ = std::make_shared<Store>(folder);
  return examples;
}

Examples Examples::open(const fs::path& folder, int64_t vocab_size) {
  Examples examples;
  examples.store_ = std::make_shared<Store>(Store::Existing(), folder);
  examples.store_->check(vocab_size);
  for (uint64_t i = 0; i < examples.store_->samples(); ++i) examples.samples_.push_back(i);
  return examples;
}

void Examples::append(const Example& example, std::string_view origin) {
  if (example.lengths.empty()) {
    if (!row_begins_.empty()) row_begins_.push_back(samples_.size());
    samples_.push_back(store_->append(example.ids, example.labels, origin));
    return;
  }
  if (row_begins_.empty())
    for (uint64_t i = 0; i < samples_.size(); ++i) row_begins_.push_back(i);
  row_begins_.push_back(samples_.size());
  std::span<const int32_t> ids = example.ids, labels = example.labels;
  for (int32_t length : example.lengths) {
    const size_t n = static_cast<size_t>(length);
    samples_.push_back(store_->append(ids.first(n), labels.first(n), origin));
    ids = ids.subspan(n);
    labels = labels.subspan(n);
  }
}

void Examples::seal() {
  store_->seal();
}

size_t Examples::size() const {
  return row_begins_.empty() ? samples_.size() : row_begins_.size();
}

std::pair<size_t, size_t> Examples::members(size_t row) const {
  FETTLE_CHECK(row < size(), "row {} of {}", row, size());
  if (row_begins_.empty()) return {row, row + 1};
  return {row_begins_[row], row + 1 < row_begins_.size() ? row_begins_[row + 1] : samples_.size()};
}

Example Examples::operator[](size_t row) const {
  auto [begin, end] = members(row);
  Example example;
  for (size_t i = begin; i < end; ++i) {
    std::span<const int32_t> ids = store_->ids(samples_[i]), labels = store_->labels(samples_[i]);
    example.ids.insert(example.ids.end(), ids.begin(), ids.end());
    example.labels.insert(example.labels.end(), labels.begin(), labels.end());
    if (!row_begins_.empty()) example.lengths.push_back(static_cast<int32_t>(ids.size()));
  }
  return example;
}

int64_t Examples::length(size_t row) const {
  auto [begin, end] = members(row);
  size_t length = 0;
  for (size_t i = begin; i < end; ++i) length += store_->ids(samples_[i]).size();
  return static_cast<int64_t>(length);
}

std::string Examples::origin(size_t row) const {
  auto [begin, end] = members(row);
  if (end - begin != 1) return "packed";
  std::span<const char> text = store_->origin(samples_[begin]);
  return {text.begin(), text.end()};
}

Examples Examples::select(const std::vector<size_t>& rows) const {
  Examples chosen;
  chosen.store_ = store_;
  for (size_t row : rows) {
    auto [begin, end] = members(row);
    if (!row_begins_.empty()) chosen.row_begins_.push_back(chosen.samples_.size());
    for (size_t i = begin; i < end; ++i) chosen.samples_.push_back(samples_[i]);
  }
  return chosen;
}

Examples Examples::grouped(const std::vector<std::vector<int64_t>>& groups) const {
  Examples packed;
  packed.store_ = store_;
  for (const std::vector<int64_t>& group : groups) {
    packed.row_begins_.push_back(packed.samples_.size());
    for (int64_t row : group) {
      auto [begin, end] = members(static_cast<size_t>(row));
      for (size_t i = begin; i < end; ++i) packed.samples_.push_back(samples_[i]);
    }
  }
  return packed;
}

}  // namespace fettle
