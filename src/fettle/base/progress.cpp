#include "fettle/base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>

#include "fettle/base/terminal.h"

namespace fettle {
namespace {

constexpr double kRedrawInterval = 0.1;
constexpr double kRateWindow = 15;  // seconds that the rate looks back, roughly

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Progress::State {
  ProgressOptions options;
  std::mutex mutex;
  int64_t done = 0;
  std::string detail;
  double start = 0, last_shown = 0;
  double rate_time = 0, rate = 0;  // smoothed units a second as of rate_time
  int64_t rate_done = 0;
  bool drawn = false, ended = false;

  double now() const { return options.clock ? options.clock() : steady_seconds(); }

  void count(int64_t value, double time) {
    done = value;
    const double span = time - rate_time;
    // What comes at once, such as mapped files or work that is resumed, says nothing about the rate.
    if (span < 0.5 || value <= rate_done) return;
    const double fresh = static_cast<double>(value - rate_done) / span;
    // The first estimate stands alone; later ones fade with time, so a pause shows within the window.
    const double weight = rate > 0 ? 1 - std::exp(-span / kRateWindow) : 1;
    rate += weight * (fresh - rate);
    rate_time = time;
    rate_done = value;
  }

  std::string amount(int64_t value) const {
    return options.unit == "B" ? format_bytes(static_cast<uint64_t>(std::max<int64_t>(value, 0)))
                               : std::to_string(value);
  }

  std::string rate_text(double value) const {
    if (options.unit == "B") return format_bytes(static_cast<uint64_t>(value)) + "/s";
    if (value >= 1 || value <= 0)
      return fmt::format("{:.{}f} {}/s", value, value < 100 ? 2 : 0, options.unit);
    return fmt::format("{:.{}f} s/{}", 1 / value, value > 0.1 ? 2 : 1, options.unit);
  }

  // "12/100 (12%)" without a bar, then rate, times and detail.
  std::string counts() const {
    return options.total > 0 ? fmt::format("{}/{}", amount(done), amount(options.total)) : amount(done);
  }
  std::string times(double time) const {
    std::string text = format_duration(time - start);
    if (options.total > done && rate > 0)
      text += fmt::format(" < {}", format_duration(static_cast<double>(options.total - done) / rate));
    return text;
  }
  int percent() const {
    return static_cast<int>(100.0 * static_cast<double>(std::min(done, options.total)) /
                            static_cast<double>(options.total));
  }

  void draw_bar(double time) {
    const int columns =
        std::max(20, (options.columns > 0 ? options.columns : terminal_columns(options.stream)) - 1);
    std::string left = options.label;
    std::string right =
        fmt::format(" {} [{}{}]", counts(), times(time), rate > 0 ? ", " + rate_text(rate) : "");
    if (!detail.empty()) right += " " + detail;
    std::string line;
    if (options.total > 0) {
      left += fmt::format(" {:3}% ", percent());
      const int room = std::clamp(columns - display_width(left) - display_width(right), 0, 30);
      const double filled =
          room * static_cast<double>(std::min(done, options.total)) / static_cast<double>(options.total);
      std::string bar;
      for (int i = 0; i < room; ++i) bar += i + 1 <= filled ? "█" : i + 0.5 <= filled ? "▌" : "·";
      // A bar of a few cells says less than its figures.
      line = left + (room >= 6 ? styled(bar, Style::kCyan, options.stream) : "") + right;
    } else {
      line = left + right;
    }
    write("\r" + fit_to_width(line, columns) + "\x1b[K");
    drawn = true;
  }

  void write_line(double time, bool last) {
    std::string line = fmt::format("{}: {}", options.label, counts());
    if (options.total > 0) line += fmt::format(" ({}%)", percent());
    const double elapsed = time - start;
    const double shown_rate = last && elapsed > 0 ? static_cast<double>(done) / elapsed : rate;
    line += last ? fmt::format(", {} in all", format_duration(elapsed)) : fmt::format(", {}", times(time));
    if (shown_rate > 0) line += ", " + rate_text(shown_rate);
    if (!detail.empty()) line += ", " + detail;
    write(line + "\n");
  }

  void show(double time) {
    if (options.style == ProgressStyle::kSilent || ended) return;
    const double interval = options.style == ProgressStyle::kBar ? kRedrawInterval : options.line_interval;
    const bool first_bar = options.style == ProgressStyle::kBar && !drawn;
    if (time - last_shown < interval && !first_bar) return;
    last_shown = time;
    if (options.style == ProgressStyle::kBar)
      draw_bar(time);
    else
      write_line(time, false);
  }

  void write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), options.stream);
    std::fflush(options.stream);
  }
};

Progress::Progress(ProgressOptions options) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.options = std::move(options);
  if (s.options.style == ProgressStyle::kAutomatic) {
    s.options.style = verbosity() == Verbosity::kQuiet ? ProgressStyle::kSilent
                      : is_terminal(s.options.stream)  ? ProgressStyle::kBar
                                                       : ProgressStyle::kLines;
  }
  s.start = s.rate_time = s.last_shown = s.now();
}

Progress::Progress(std::string label, std::string unit)
    : Progress([&] {
        ProgressOptions options;
        options.label = std::move(label);
        options.unit = std::move(unit);
        return options;
      }()) {}

Progress::~Progress() {
  State& s = *state_;
  if (!s.ended && s.drawn) s.write("\n");
}

void Progress::update(int64_t done, std::string_view detail) {
  std::lock_guard lock(state_->mutex);
  const double time = state_->now();
  state_->detail = detail;
  state_->count(done, time);
  state_->show(time);
}

void Progress::update(int64_t done) {
  std::lock_guard lock(state_->mutex);
  const double time = state_->now();
  state_->count(done, time);
  state_->show(time);
}

void Progress::update(int64_t done, int64_t total) {
  {
    std::lock_guard lock(state_->mutex);
    state_->options.total = total;
  }
  update(done);
}

void Progress::advance(int64_t units) {
  std::lock_guard lock(state_->mutex);
  const double time = state_->now();
  state_->count(state_->done + units, time);
  state_->show(time);
}

void Progress::print(std::string_view line) {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  if (s.options.style == ProgressStyle::kSilent) return;
  s.write((s.drawn && !s.ended ? "\r\x1b[K" : "") + std::string(line) + "\n");
  if (s.drawn && !s.ended) s.draw_bar(s.now());
}

void Progress::finish() {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  if (s.ended) return;
  const double time = s.now();
  if (s.options.style == ProgressStyle::kBar) {
    if (s.options.total <= 0 || s.done > 0)
      s.rate = time > s.start ? static_cast<double>(s.done) / (time - s.start) : s.rate;
    s.draw_bar(time);
    s.write("\n");
  } else if (s.options.style == ProgressStyle::kLines) {
    s.write_line(time, true);
  }
  s.ended = true;
}

}  // namespace fettle
