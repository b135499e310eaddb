#include "fettle/data/row_slice.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "fettle/base/error.h"

namespace fettle {

std::pair<int64_t, int64_t> RowSlice::rows(int64_t count) const {
  auto boundary = [&](std::optional<int64_t> given, int64_t fallback) {
    if (!given) return fallback;
    int64_t row = percent ? static_cast<int64_t>(std::nearbyint(static_cast<double>(*given) *
                                                                static_cast<double>(count) / 100.0))
                          : *given;
    if (row < 0) row = std::max<int64_t>(0, count + row);
    return std::min(row, count);
  };
  return {boundary(from, 0), boundary(to, count)};
}

RowSlice parse_row_slice(std::string_view text, const std::string& origin) {
  auto refuse = [&] {
    fail_usage("{}: the slice [{}] is not of the form [from:to], for example [:1500], [10%:20%] or [-100:]",
               origin, printable(text, 40));
  };
  RowSlice slice;
  size_t colon = text.find(':');
  if (colon == text.npos) refuse();
  bool absolute = false;
  auto boundary = [&](std::string_view part) -> std::optional<int64_t> {
    if (part.empty()) return std::nullopt;
    bool share = part.back() == '%';
    if (share) part.remove_suffix(1);
    int64_t value = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size()) refuse();
    if (share && (value < -100 || value > 100))
      fail_usage("{}: the slice [{}] leaves the range from -100% to 100%", origin, printable(text, 40));
    if (!share && (value < -(int64_t{1} << 53) || value > (int64_t{1} << 53))) refuse();
    (share ? slice.percent : absolute) = true;
    return value;
  };
  slice.from = boundary(text.substr(0, colon));
  slice.to = boundary(text.substr(colon + 1));
  if (slice.percent && absolute)
    fail_usage("{}: the slice [{}] mixes rows and percentages", origin, printable(text, 40));
  return slice;
}

std::pair<std::string, std::optional<RowSlice>> split_name_and_slice(const std::string& text,
                                                                     const std::string& origin) {
  size_t open = text.rfind('[');
  if (text.empty() || text.back() != ']' || open == std::string::npos || open == 0)
    return {text, std::nullopt};
  return {text.substr(0, open),
          parse_row_slice(std::string_view(text).substr(open + 1, text.size() - open - 2), origin)};
}

std::string RowSlice::text() const {
  const char* unit = percent ? "%" : "";
  auto side = [&](const std::optional<int64_t>& at) { return at ? fmt::format("{}{}", *at, unit) : ""; };
  return fmt::format("[{}:{}]", side(from), side(to));
}

}  // namespace fettle
