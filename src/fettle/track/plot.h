// Line charts as PNG, drawn with Cairo.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace fettle {

struct Series {
  std::string name;
  std::vector<double> x, y;  ///< NaN in y leaves a gap
  bool faint = false;        ///< drawn thin and pale, behind the others
  bool filled = false;       ///< the area down to 0
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  int width = 800, height = 500;  ///< in points; the picture has twice as many pixels
};

/// Error(kResources) when the file cannot be written. The picture is whole or absent.
void draw_chart(const Chart& chart, const std::filesystem::path& png);
/// Several, one below the other.
void draw_charts(const std::vector<Chart>& charts, const std::filesystem::path& png);

/// LLaMA-Factory's smoothing (extras/ploting.py): an exponential mean whose weight 1.8 (1 / (1 + e^(-0.05 n))
/// - 0.5) grows with the number of points n.
std::vector<double> smooth(const std::vector<double>& values);

/// training_loss.png in `folder`: the loss as logged, faint, and smoothed.
void plot_loss(const std::filesystem::path& folder, const std::vector<double>& steps,
               const std::vector<double>& losses);

/// Bars of `rows[i]` over [edges[i], edges[i + 1]), and a line at `mark` (named `mark_name`) unless it is 0.
/// edges.size() == rows.size() + 1.
struct LengthPlot {
  std::string title, unit;
  std::vector<double> edges, rows;
  double mark = 0;
  std::string mark_name;
};
void plot_lengths(const LengthPlot& plot, const std::filesystem::path& png);

/// One line of block characters that shows how values went, at most `columns` wide; "" without values.
std::string sparkline(const std::vector<double>& values, int columns);

}  // namespace fettle
