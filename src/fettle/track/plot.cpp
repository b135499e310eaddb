#include "fettle/track/plot.h"

#include <cairo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "fettle/base/error.h"

namespace fettle {
namespace {

struct Color {
  double r, g, b;
};
// The colours of matplotlib's default cycle.
constexpr std::array<Color, 6> kColors = {{{0.122, 0.467, 0.706},
                                           {1.0, 0.498, 0.055},
                                           {0.173, 0.627, 0.173},
                                           {0.839, 0.153, 0.157},
                                           {0.580, 0.404, 0.741},
                                           {0.549, 0.337, 0.294}}};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void widen(double share) {
    if (low > high) low = 0, high = 1;
    if (low == high) low -= std::max(1e-9, std::abs(low) * 0.1), high += std::max(1e-9, std::abs(high) * 0.1);
    double margin = (high - low) * share;
    low -= margin;
    high += margin;
  }
};

// Steps of 1, 2 or 5 times a power of ten, about `wanted` of them.
std::vector<double> ticks(const Range& range, int wanted, bool whole) {
  double raw = (range.high - range.low) / wanted, power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = power * 10;
  for (double factor : {1.0, 2.0, 5.0})
    if (raw <= power * factor) {
      step = power * factor;
      break;
    }
  if (whole) step = std::max(1.0, step);
  std::vector<double> out;
  for (double t = std::ceil(range.low / step) * step; t <= range.high + step * 1e-9; t += step)
    out.push_back(std::abs(t) < step * 1e-9 ? 0 : t);
  return out;
}

std::string tick_text(double value) {
  return fmt::format("{:.6g}", value);
}

class Canvas {
 public:
  /// Draws at the origin of `context`, in points.
  Canvas(const Chart& chart, cairo_t* context) : chart_(chart), context_(context) {
    cairo_select_font_face(cr(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    for (const Series& series : chart.series) {
      if (series.filled) y_.include(0);
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!std::isfinite(series.y[i])) continue;
        x_.include(series.x[i]);
        y_.include(series.y[i]);
      }
    }
    x_.widen(0.02);
    y_.widen(0.06);
  }

  void draw() {
    draw_grid();
    cairo_save(cr());
    cairo_rectangle(cr(), kLeft, kTop, plot_width(), plot_height());
    cairo_clip(cr());
    for (bool faint : {true, false})
      for (size_t i = 0; i < chart_.series.size(); ++i)
        if (chart_.series[i].faint == faint) draw_series(chart_.series[i], color_of(i));
    cairo_restore(cr());
    draw_frame();
    draw_legend();
  }

 private:
  static constexpr double kLeft = 74, kRight = 20, kTop = 44, kBottom = 56;
  cairo_t* cr() { return context_; }
  double plot_width() const { return chart_.width - kLeft - kRight; }
  double plot_height() const { return chart_.height - kTop - kBottom; }
  double px(double x) const { return kLeft + (x - x_.low) / (x_.high - x_.low) * plot_width(); }
  double py(double y) const { return kTop + (y_.high - y) / (y_.high - y_.low) * plot_height(); }
  void color(Color c, double alpha = 1) { cairo_set_source_rgba(cr(), c.r, c.g, c.b, alpha); }
  Color color_of(size_t i) const {
    // A faint series is the raw form of the one that follows, so it shares its colour.
    return kColors[(chart_.series[i].faint && i + 1 < chart_.series.size() ? i + 1 : i) % kColors.size()];
  }
  void text(const std::string& content, double x, double y, double align, double size) {
    cairo_set_font_size(cr(), size);
    cairo_text_extents_t extents;
    cairo_text_extents(cr(), content.c_str(), &extents);
    cairo_move_to(cr(), x - extents.x_advance * align, y);
    cairo_show_text(cr(), content.c_str());
  }

  void draw_grid() {
    cairo_set_line_width(cr(), 0.6);
    for (double t : ticks(x_, 8, true)) {
      color({0.88, 0.88, 0.88});
      cairo_move_to(cr(), px(t), kTop);
      cairo_line_to(cr(), px(t), kTop + plot_height());
      cairo_stroke(cr());
      color({0.2, 0.2, 0.2});
      text(tick_text(t), px(t), kTop + plot_height() + 17, 0.5, 11);
    }
    for (double t : ticks(y_, 6, false)) {
      color({0.88, 0.88, 0.88});
      cairo_move_to(cr(), kLeft, py(t));
      cairo_line_to(cr(), kLeft + plot_width(), py(t));
      cairo_stroke(cr());
      color({0.2, 0.2, 0.2});
      text(tick_text(t), kLeft - 7, py(t) + 4, 1, 11);
    }
  }
  void draw_area(const Series& series, Color c) {
    if (series.x.empty()) return;
    color(c, 0.6);
    cairo_move_to(cr(), px(series.x.front()), py(0));
    for (size_t i = 0; i < series.x.size(); ++i)
      if (std::isfinite(series.y[i])) cairo_line_to(cr(), px(series.x[i]), py(series.y[i]));
    cairo_line_to(cr(), px(series.x.back()), py(0));
    cairo_close_path(cr());
    cairo_fill(cr());
  }
  void draw_series(const Series& series, Color c) {
    if (series.filled) draw_area(series, c);
    color(c, series.faint ? 0.35 : 1);
    cairo_set_line_width(cr(), series.faint ? 1.2 : 2);
    cairo_set_line_join(cr(), CAIRO_LINE_JOIN_ROUND);
    bool pen_down = false;
    size_t run = 0;
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i])) {
        pen_down = false;
        continue;
      }
      if (pen_down)
        cairo_line_to(cr(), px(series.x[i]), py(series.y[i]));
      else
        cairo_move_to(cr(), px(series.x[i]), py(series.y[i]));
      pen_down = true;
      ++run;
    }
    cairo_stroke(cr());
    if (run > 1) return;
    // A single point has no line.
    for (size_t i = 0; i < series.x.size(); ++i)
      if (std::isfinite(series.y[i])) {
        cairo_arc(cr(), px(series.x[i]), py(series.y[i]), 3, 0, 6.2832);
        cairo_fill(cr());
      }
  }
  void draw_frame() {
    color({0.2, 0.2, 0.2});
    cairo_set_line_width(cr(), 1);
    cairo_rectangle(cr(), kLeft, kTop, plot_width(), plot_height());
    cairo_stroke(cr());
    text(chart_.title, kLeft + plot_width() / 2, kTop - 16, 0.5, 15);
    text(chart_.x_label, kLeft + plot_width() / 2, chart_.height - 14, 0.5, 12);
    cairo_save(cr());
    cairo_translate(cr(), 18, kTop + plot_height() / 2);
    cairo_rotate(cr(), -1.5707963);
    text(chart_.y_label, 0, 0, 0.5, 12);
    cairo_restore(cr());
  }
  void draw_legend() {
    double widest = 0;
    cairo_set_font_size(cr(), 12);
    for (const Series& series : chart_.series) {
      cairo_text_extents_t extents;
      cairo_text_extents(cr(), series.name.c_str(), &extents);
      widest = std::max(widest, extents.x_advance);
    }
    double width = widest + 46, height = 10 + 18 * static_cast<double>(chart_.series.size());
    double left = kLeft + plot_width() - width - 10, top = kTop + 10;
    color({1, 1, 1}, 0.85);
    cairo_rectangle(cr(), left, top, width, height);
    cairo_fill_preserve(cr());
    color({0.8, 0.8, 0.8});
    cairo_stroke(cr());
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      double y = top + 17 + 18 * static_cast<double>(i);
      color(color_of(i), chart_.series[i].faint ? 0.35 : 1);
      cairo_set_line_width(cr(), 2);
      cairo_move_to(cr(), left + 8, y - 4);
      cairo_line_to(cr(), left + 32, y - 4);
      cairo_stroke(cr());
      color({0.2, 0.2, 0.2});
      text(chart_.series[i].name, left + 38, y, 0, 12);
    }
  }

  const Chart& chart_;
  cairo_t* context_;
  Range x_, y_;
};

void save_png(cairo_surface_t* surface, const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".{}.tmp", getpid());
  cairo_status_t status = cairo_surface_write_to_png(surface, temporary.c_str());
  std::error_code error;
  if (status == CAIRO_STATUS_SUCCESS) std::filesystem::rename(temporary, path, error);
  if (status != CAIRO_STATUS_SUCCESS || error) {
    std::filesystem::remove(temporary, error);
    fail_resources("{}: cannot write the picture: {}", path.string(), cairo_status_to_string(status));
  }
}

}  // namespace

void draw_chart(const Chart& chart, const std::filesystem::path& png) {
  draw_charts({chart}, png);
}

void draw_charts(const std::vector<Chart>& charts, const std::filesystem::path& png) {
  int width = 0, height = 0;
  for (const Chart& chart : charts) {
    for (const Series& series : chart.series)
      FETTLE_CHECK(series.x.size() == series.y.size(), "series {} is uneven", series.name);
    width = std::max(width, chart.width);
    height += chart.height;
  }
  std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, width * 2, height * 2), cairo_surface_destroy);
  std::unique_ptr<cairo_t, void (*)(cairo_t*)> context(cairo_create(surface.get()), cairo_destroy);
  cairo_scale(context.get(), 2, 2);
  cairo_set_source_rgb(context.get(), 1, 1, 1);
  cairo_paint(context.get());
  for (const Chart& chart : charts) {
    cairo_save(context.get());
    Canvas(chart, context.get()).draw();
    cairo_restore(context.get());
    cairo_translate(context.get(), 0, chart.height);
  }
  save_png(surface.get(), png);
}

std::vector<double> smooth(const std::vector<double>& values) {
  std::vector<double> out;
  double weight = 1.8 * (1.0 / (1.0 + std::exp(-0.05 * static_cast<double>(values.size()))) - 0.5);
  for (double value : values)
    out.push_back(out.empty() ? value : weight * out.back() + (1.0 - weight) * value);
  return out;
}

void plot_loss(const std::filesystem::path& folder, const std::vector<double>& steps,
               const std::vector<double>& losses) {
  draw_chart({.title = "Training loss",
              .x_label = "step",
              .y_label = "loss",
              .series = {{.name = "as logged", .x = steps, .y = losses, .faint = true},
                         {.name = "smoothed", .x = steps, .y = smooth(losses)}}},
             folder / "training_loss.png");
}

void plot_lengths(const LengthPlot& plot, const std::filesystem::path& png) {
  FETTLE_CHECK(plot.edges.size() == plot.rows.size() + 1, "{} edges for {} bars", plot.edges.size(),
               plot.rows.size());
  Series bars{.name = "rows", .x = {}, .y = {}, .filled = true};
  double most = 0;
  for (size_t i = 0; i < plot.rows.size(); ++i) {
    for (auto [x, y] : {std::pair(plot.edges[i], 0.0), std::pair(plot.edges[i], plot.rows[i]),
                        std::pair(plot.edges[i + 1], plot.rows[i]), std::pair(plot.edges[i + 1], 0.0)}) {
      bars.x.push_back(x);
      bars.y.push_back(y);
    }
    most = std::max(most, plot.rows[i]);
  }
  Chart chart{.title = plot.title, .x_label = plot.unit, .y_label = "rows", .series = {bars}};
  if (plot.mark > 0)
    chart.series.push_back({.name = plot.mark_name, .x = {plot.mark, plot.mark}, .y = {0, most}});
  draw_chart(chart, png);
}

std::string sparkline(const std::vector<double>& values, int columns) {
  constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  size_t width = std::min(values.size(), static_cast<size_t>(std::max(columns, 1)));
  std::vector<double> means;
  Range range;
  for (size_t c = 0; c < width; ++c) {
    size_t begin = c * values.size() / width, end = (c + 1) * values.size() / width;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += values[i];
    means.push_back(sum / static_cast<double>(end - begin));
    range.include(means.back());
  }
  std::string line;
  for (double value : means) {
    double share = range.high > range.low ? (value - range.low) / (range.high - range.low) : 0;
    line += std::isfinite(value) ? kBlocks[static_cast<size_t>(std::lround(share * 7))] : " ";
  }
  return line;
}

}  // namespace fettle
