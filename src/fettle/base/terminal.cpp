#include "fettle/base/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <mutex>

#include "fettle/base/utf8.h"

namespace fettle {
namespace {

Verbosity current_verbosity = Verbosity::kNormal;
bool color_disabled = false;

struct Range {
  char32_t first, last;
};

// East Asian Width W and F of Unicode 15 (UAX #11), neighbouring blocks joined.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},   {0x23F0, 0x23F0},
    {0x23F3, 0x23F3},   {0x25FD, 0x25FE},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267F, 0x267F},
    {0x2693, 0x2693},   {0x26A1, 0x26A1},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26CE, 0x26CE},   {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27B0, 0x27B0},   {0x27BF, 0x27BF},   {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},
    {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0xA4CF},   {0xA960, 0xA97F},
    {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE10, 0xFE19},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
    {0xFFE0, 0xFFE6},   {0x16FE0, 0x18AFF}, {0x1AFF0, 0x1B2FF}, {0x1F004, 0x1F004}, {0x1F0CF, 0x1F0CF},
    {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A}, {0x1F200, 0x1F320}, {0x1F32D, 0x1F335}, {0x1F337, 0x1F37C},
    {0x1F37E, 0x1F393}, {0x1F3A0, 0x1F3CA}, {0x1F3CF, 0x1F3D3}, {0x1F3E0, 0x1F3F0}, {0x1F3F4, 0x1F3F4},
    {0x1F3F8, 0x1F43E}, {0x1F440, 0x1F440}, {0x1F442, 0x1F4FC}, {0x1F4FF, 0x1F53D}, {0x1F54B, 0x1F54E},
    {0x1F550, 0x1F567}, {0x1F57A, 0x1F57A}, {0x1F595, 0x1F596}, {0x1F5A4, 0x1F5A4}, {0x1F5FB, 0x1F64F},
    {0x1F680, 0x1F6C5}, {0x1F6CC, 0x1F6CC}, {0x1F6D0, 0x1F6D2}, {0x1F6D5, 0x1F6D7}, {0x1F6DC, 0x1F6DF},
    {0x1F6EB, 0x1F6EC}, {0x1F6F4, 0x1F6FC}, {0x1F7E0, 0x1F7EB}, {0x1F7F0, 0x1F7F0}, {0x1F90C, 0x1F93A},
    {0x1F93C, 0x1F945}, {0x1F947, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD},
};

// Marks and format characters that take no column, in the scripts that tables meet.
constexpr Range kZeroWidth[] = {
    {0x0300, 0x036F},   {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A}, {0x064B, 0x065F},
    {0x06D6, 0x06DC},   {0x0900, 0x0902}, {0x093C, 0x093C}, {0x0941, 0x0948}, {0x094D, 0x094D},
    {0x0E31, 0x0E31},   {0x0E34, 0x0E3A}, {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},
    {0x200B, 0x200F},   {0x202A, 0x202E}, {0x2060, 0x2064}, {0x20D0, 0x20F0}, {0x302A, 0x302D},
    {0x3099, 0x309A},   {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0x1F3FB, 0x1F3FF},
    {0xE0001, 0xE01EF},
};

bool contains(const Range* begin, const Range* end, char32_t code) {
  const Range* range =
      std::lower_bound(begin, end, code, [](const Range& r, char32_t value) { return r.last < value; });
  return range != end && range->first <= code;
}

int width_of(char32_t code) {
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return 0;
  if (code < 0x300) return 1;
  if (contains(std::begin(kZeroWidth), std::end(kZeroWidth), code)) return 0;
  return contains(std::begin(kWide), std::end(kWide), code) ? 2 : 1;
}

// Length of the colour sequence "ESC [ … m" at `position`, 0 when there is none.
size_t escape_length(std::string_view text, size_t position) {
  if (text.substr(position, 2) != "\x1b[") return 0;
  const size_t end = text.find_first_not_of("0123456789;", position + 2);
  return end != text.npos && text[end] == 'm' ? end + 1 - position : 0;
}

void write_line(std::string_view text) {
  // One write a line keeps lines of several threads apart.
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  std::string line(text);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void set_verbosity(Verbosity verbosity) {
  current_verbosity = verbosity;
}
Verbosity verbosity() {
  return current_verbosity;
}
void disable_color() {
  color_disabled = true;
}

bool is_terminal(std::FILE* stream) {
  return ::isatty(::fileno(stream)) == 1;
}

bool use_color(std::FILE* stream) {
  if (color_disabled || !is_terminal(stream)) return false;
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color && *no_color) return false;
  const char* term = std::getenv("TERM");
  return !term || std::string_view(term) != "dumb";
}

int terminal_columns(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  if (const char* columns = std::getenv("COLUMNS")) {
    const int value = std::atoi(columns);
    if (value >= 20 && value <= 1000) return value;
  }
  return 80;
}

std::string styled(std::string_view text, Style style, std::FILE* stream) {
  static constexpr const char* kCodes[] = {"", "1", "2", "31", "32", "33", "34", "36"};
  if (style == Style::kPlain || !use_color(stream)) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<int>(style)], text);
}

void say_line(std::string_view text) {
  if (current_verbosity != Verbosity::kQuiet) write_line(text);
}

void warn_line(std::string_view text) {
  write_line(styled("warning:", Style::kYellow, stderr) + " " + std::string(text));
}

int display_width(std::string_view text) {
  int width = 0;
  for (size_t position = 0; position < text.size();) {
    if (size_t skip = escape_length(text, position))
      position += skip;
    else
      width += width_of(next_code_point(text, position));
  }
  return width;
}

std::string fit_to_width(std::string_view text, int columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns <= 0) return "";
  int width = 1;  // the ellipsis
  size_t position = 0, end = 0;
  bool escaped = false;
  while (position < text.size()) {
    if (size_t skip = escape_length(text, position)) {
      position += skip;
      escaped = true;
    } else {
      width += width_of(next_code_point(text, position));
      if (width > columns) break;
    }
    end = position;
  }
  return std::string(text.substr(0, end)) + (escaped ? "…\x1b[0m" : "…");
}

std::string wrap_text(std::string_view text, int columns, int indent, int start) {
  std::string out;
  int width = start;
  bool line_start = true;
  for (size_t position = 0; position < text.size();) {
    const size_t space = std::min(text.find_first_of(" \n", position), text.size());
    const std::string_view word = text.substr(position, space - position);
    const int word_width = display_width(word);
    if (!line_start && width + 1 + word_width > columns) {
      out += '\n' + std::string(indent, ' ');
      width = indent;
      line_start = true;
    }
    if (!line_start) out += ' ', ++width;
    out += word;
    width += word_width;
    line_start = false;
    if (space < text.size() && text[space] == '\n') {
      out += '\n' + std::string(indent, ' ');
      width = indent;
      line_start = true;
    }
    position = space + 1;
  }
  return out;
}

Table::Table(std::vector<std::string> header, std::vector<Align> align)
    : header_(std::move(header)), align_(std::move(align)) {}

void Table::add_row(std::vector<std::string> cells) {
  rows_.push_back(std::move(cells));
}

std::string Table::text(int max_columns) const {
  std::vector<int> widths;
  auto measure = [&](const std::vector<std::string>& cells) {
    if (cells.size() > widths.size()) widths.resize(cells.size(), 0);
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  };
  measure(header_);
  for (const auto& row : rows_) measure(row);
  if (widths.empty()) return "";
  int before_last = 0;
  for (size_t i = 0; i + 1 < widths.size(); ++i) before_last += widths[i] + 2;
  // A last column of fewer than 12 columns says nothing; then the line is left long.
  if (max_columns > 0) widths.back() = std::min(widths.back(), std::max(12, max_columns - before_last));

  std::string out;
  auto write = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = fit_to_width(i < cells.size() ? std::string_view(cells[i]) : "", widths[i]);
      const std::string pad(std::max(0, widths[i] - display_width(cell)), ' ');
      if (i > 0) line += "  ";
      line += i < align_.size() && align_[i] == Align::kRight ? pad + cell : cell + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  if (!header_.empty()) write(header_);
  for (const auto& row : rows_) write(row);
  return out;
}

std::string format_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.5 && unit < 6) value /= 1000, ++unit;
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  const int64_t total = std::llround(seconds);
  const int64_t hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  return hours ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest) : fmt::format("{}:{:02}", minutes, rest);
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  for (int i = static_cast<int>(digits.size()) - 3; i > (count < 0 ? 1 : 0); i -= 3) digits.insert(i, ",");
  return digits;
}

}  // namespace fettle
