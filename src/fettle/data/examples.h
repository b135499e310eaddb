// Encoded rows: in memory, or in files when there are more than memory holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/data/batch.h"

namespace fettle {

/// Rows in order. Copies and selections share the tokens. A row may be several samples that do not see each
/// other.
class Examples {
 public:
  /// Empty, in memory.
  Examples();
  Examples(const std::vector<Example>& rows);  // NOLINT(google-explicit-constructor)
  /// Empty; what is appended goes to files in `folder`, which is created. Call seal() after the last one.
  static Examples in_files(const std::filesystem::path& folder);
  /// What in_files() left in `folder`. Error(kBadInput) for files that are damaged and for ids from
  /// `vocab_size` on.
  static Examples open(const std::filesystem::path& folder, int64_t vocab_size);

  /// `origin`: "data.jsonl:12".
  void append(const Example& example, std::string_view origin);
  /// Writes what is pending and maps the files; in memory nothing happens. Error(kResources) when the disk
  /// fails.
  void seal();

  size_t size() const;
  bool empty() const { return size() == 0; }
  Example operator[](size_t row) const;
  Example front() const { return (*this)[0]; }
  int64_t length(size_t row) const;
  /// "packed" for rows of several samples.
  std::string origin(size_t row) const;

  /// These rows, in this order.
  Examples select(const std::vector<size_t>& rows) const;
  /// A row for each group, which holds the samples of all its rows.
  Examples grouped(const std::vector<std::vector<int64_t>>& groups) const;

  class Iterator {
   public:
    using value_type = Example;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;
    Iterator(const Examples* all, size_t row) : all_(all), row_(row) {}
    Example operator*() const { return (*all_)[row_]; }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return row_ == other.row_; }

   private:
    const Examples* all_;
    size_t row_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }

 private:
  class Store;
  std::pair<size_t, size_t> members(size_t row) const;
  std::shared_ptr<Store> store_;
  std::vector<uint64_t> samples_;     ///< of all rows, by their number in the store
  std::vector<uint64_t> row_begins_;  ///< where each row's begin in samples_; empty: every row is one sample
};

}  // namespace fettle
