// What people see on a terminal: how much is said, colours, widths of text, aligned tables.
// Data goes to stdout, words for people to stderr.
#pragma once
#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

enum class Verbosity { kQuiet, kNormal, kVerbose };

/// Set once by the command line (-q, -v, --no-color), before threads start.
void set_verbosity(Verbosity verbosity);
Verbosity verbosity();
void disable_color();

bool is_terminal(std::FILE* stream);
/// A terminal, and neither NO_COLOR, TERM=dumb nor --no-color forbids it.
bool use_color(std::FILE* stream);
/// Columns of the terminal behind `stream`, $COLUMNS, or 80.
int terminal_columns(std::FILE* stream);

enum class Style { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kCyan };
/// `text` between the escape sequences of `style` when `stream` shows colours, else `text`.
std::string styled(std::string_view text, Style style, std::FILE* stream);

/// One line for people on stderr; nothing with --quiet.
void say_line(std::string_view text);
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  if (verbosity() != Verbosity::kQuiet) say_line(fmt::format(format, std::forward<Args>(args)...));
}
/// One line for people on stderr, only with --verbose.
template <typename... Args>
void say_detail(fmt::format_string<Args...> format, Args&&... args) {
  if (verbosity() == Verbosity::kVerbose) say_line(fmt::format(format, std::forward<Args>(args)...));
}
/// `warning: …` on stderr, also with --quiet.
void warn_line(std::string_view text);
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  warn_line(fmt::format(format, std::forward<Args>(args)...));
}

/// Columns that `text` (UTF-8) takes on a terminal: East Asian wide characters and emoji 2, combining marks,
/// joiners and control characters 0, escape sequences for colour 0, else 1.
int display_width(std::string_view text);
/// `text` cut to at most `columns`, with "…" at the cut.
std::string fit_to_width(std::string_view text, int columns);
/// Lines of at most `columns`, broken at spaces, each but the first indented; the first one starts in column
/// `start`.
std::string wrap_text(std::string_view text, int columns, int indent = 0, int start = 0);

enum class Align { kLeft, kRight };

/// Rows of cells in aligned columns, two spaces apart.
class Table {
 public:
  /// An empty `header` prints no heading line.
  explicit Table(std::vector<std::string> header, std::vector<Align> align = {});
  /// Cells beyond the header's width widen the table; missing ones are empty.
  void add_row(std::vector<std::string> cells);
  /// The table, each line ended by "\n" and without trailing blanks. The last column is cut so that a line
  /// fits `max_columns` (0: no limit).
  std::string text(int max_columns = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<Align> align_;
  std::vector<std::vector<std::string>> rows_;
};

/// "1.5 GB", "812 MB": decimal units, three significant digits.
std::string format_bytes(uint64_t bytes);
/// "0:07", "1:02:03": hours only when needed.
std::string format_duration(double seconds);
/// "8,798,208".
std::string format_count(int64_t count);

}  // namespace fettle
