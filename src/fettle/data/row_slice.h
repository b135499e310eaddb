// Slices of a data set as Hugging Face `datasets` writes them: "train[:1500]", "train[10%:20%]",
// "train[-100:]".
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace fettle {

/// Boundaries of a slice; negative ones count from the end.
struct RowSlice {
  std::optional<int64_t> from, to;
  bool percent = false;
  /// Whether the number of rows must be known.
  bool needs_count() const { return percent || from.value_or(0) < 0 || to.value_or(0) < 0; }
  /// First row and the one behind the last; percentages are rounded to the nearest row, halves to even.
  std::pair<int64_t, int64_t> rows(int64_t count) const;
  /// "[10%:20%]".
  std::string text() const;
};

/// What stands between [ and ]. Error(kUsage) starting with `origin`.
RowSlice parse_row_slice(std::string_view text, const std::string& origin);

/// "name[10%:20%]" cut into name and slice; no slice when `text` does not end on one.
std::pair<std::string, std::optional<RowSlice>> split_name_and_slice(const std::string& text,
                                                                     const std::string& origin);

}  // namespace fettle
