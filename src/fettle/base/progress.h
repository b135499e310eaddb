// Progress of long work: one bar on a terminal, a plain line now and then elsewhere, nothing with --quiet.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace fettle {

enum class ProgressStyle {
  kAutomatic,  ///< kSilent with --quiet, kBar on a terminal, else kLines
  kBar,
  kLines,
  kSilent,
};

struct ProgressOptions {
  std::string label;          ///< "train", "load"
  int64_t total = 0;          ///< 0: unknown, then neither bar nor remaining time
  std::string unit = "it";    ///< the rate is in units a second; "B" prints sizes
  double line_interval = 10;  ///< kLines: at least so many seconds between two lines
  ProgressStyle style = ProgressStyle::kAutomatic;
  std::FILE* stream = stderr;
  int columns = 0;                ///< 0: those of the terminal
  std::function<double()> clock;  ///< seconds; empty: the steady clock
};

/// Shows how far some work is. Calls may come from several threads.
class Progress {
 public:
  explicit Progress(ProgressOptions options);
  /// A display whose total comes with the updates.
  explicit Progress(std::string label, std::string unit = "it");
  /// Ends the display as it stands; work that ended well calls finish() first.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` units of the total are done; `detail` ("loss 1.234") stays until the next one.
  void update(int64_t done, std::string_view detail);
  void update(int64_t done);
  void update(int64_t done, int64_t total);
  void advance(int64_t units = 1);
  /// A line for people that stays above the bar.
  void print(std::string_view line);
  /// Shows the last state and its total time.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fettle
