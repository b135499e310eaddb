// fettle sweep: many runs over a space of options; by itself, or as the worker of an optimizer outside.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/sweep_runner.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/base/terminal.h"
#include "fettle/track/plot.h"
#include "fettle/track/run_folder.h"
#include "fettle/train/stop_signal.h"

namespace fettle::app {
namespace {

std::string point_text(const SweepFile& file, const SearchPoint& point) {
  std::string text;
  for (size_t i = 0; i < point.size(); ++i)
    text += fmt::format("{}{}={}", i ? " " : "", file.parameters[i].name, point[i]);
  return text;
}

// Lower is better.
double score(const SweepFile& file, double value) {
  return file.maximize ? -value : value;
}

std::vector<const Trial*> ranked(const SweepRunner& runner) {
  std::vector<const Trial*> all;
  for (const auto& [number, trial] : runner.trials())
    if (trial.measured() && trial.failure.empty()) all.push_back(&trial);
  std::stable_sort(all.begin(), all.end(), [&](const Trial* a, const Trial* b) {
    // Whole runs stand before those that were stopped early.
    const int64_t steps_a = a->values.contains(0) ? INT64_MAX : a->values.rbegin()->first;
    const int64_t steps_b = b->values.contains(0) ? INT64_MAX : b->values.rbegin()->first;
    if (steps_a != steps_b) return steps_a > steps_b;
    return score(runner.file(), a->value()) < score(runner.file(), b->value());
  });
  return all;
}

std::vector<SearchResult> results(const SweepRunner& runner) {
  std::vector<SearchResult> all;
  for (const auto& [number, trial] : runner.trials())
    if (trial.measured() && trial.failure.empty())
      all.push_back({trial.point, score(runner.file(), trial.value())});
  return all;
}

void write_summary(const SweepRunner& runner) {
  const SweepFile& file = runner.file();
  const std::vector<const Trial*> best = ranked(runner);
  std::vector<std::string> header = {"trial"};
  for (const SearchParameter& parameter : file.parameters) header.push_back(parameter.name);
  header.insert(header.end(), {file.metric, "steps"});
  std::vector<Align> align(header.size(), Align::kRight);
  Table table(header, align);
  std::string csv = fmt::format("{}\n", fmt::join(header, ","));
  auto add = [&](const Trial& trial, const std::string& value, const std::string& steps, bool shown) {
    std::vector<std::string> row = {std::to_string(trial.number)};
    row.insert(row.end(), trial.point.begin(), trial.point.end());
    row.insert(row.end(), {value, steps});
    csv += fmt::format("{}\n", fmt::join(row, ","));
    if (shown) table.add_row(row);
  };
  for (size_t i = 0; i < best.size(); ++i)
    add(*best[i], fmt::format("{:.5g}", best[i]->value()),
        best[i]->values.contains(0) ? "all" : std::to_string(best[i]->values.rbegin()->first), i < 20);
  for (const auto& [number, trial] : runner.trials())
    if (!trial.failure.empty()) add(trial, trial.failure, "-", true);
  write_file_atomically(file.output_dir / "sweep.csv", csv);
  fmt::print("\n{}", table.text(is_terminal(stdout) ? terminal_columns(stdout) : 0));
  if (best.empty()) return;

  Chart course{.title = "value of each trial",
               .x_label = "trial",
               .y_label = file.metric,
               .series = {},
               .width = 900,
               .height = 360};
  Series each{.name = file.metric, .x = {}, .y = {}}, so_far{.name = "best so far", .x = {}, .y = {}};
  for (const auto& [number, trial] : runner.trials()) {
    if (!trial.measured() || !trial.failure.empty()) continue;
    each.x.push_back(static_cast<double>(number));
    each.y.push_back(trial.value());
    so_far.x.push_back(static_cast<double>(number));
    const double best_before = so_far.y.empty() ? trial.value() : so_far.y.back();
    so_far.y.push_back(file.maximize ? std::max(best_before, trial.value())
                                     : std::min(best_before, trial.value()));
  }
  course.series = {each, so_far};
  Chart losses{.title = "loss of the best five",
               .x_label = "step",
               .y_label = "loss",
               .series = {},
               .width = 900,
               .height = 360};
  for (size_t i = 0; i < std::min<size_t>(5, best.size()); ++i) {
    if (!is_run_folder(runner.folder(best[i]->number))) continue;
    Series series{.name = fmt::format("trial {}", best[i]->number), .x = {}, .y = {}};
    for (const RunPoint& point : read_run_folder(runner.folder(best[i]->number)).points)
      if (point.loss) {
        series.x.push_back(static_cast<double>(point.step));
        series.y.push_back(*point.loss);
      }
    series.y = smooth(series.y);
    losses.series.push_back(std::move(series));
  }
  std::vector<Chart> charts = {course};
  if (!losses.series.empty()) charts.push_back(losses);
  draw_charts(charts, file.output_dir / "sweep.png");
  say("\nBest:   {}", point_text(file, best.front()->point));
  say("Run:    {}", runner.folder(best.front()->number).string());
  say("Table:  {}", (file.output_dir / "sweep.csv").string());
  say("Plot:   {}", (file.output_dir / "sweep.png").string());
}

[[noreturn]] void stopped(const SweepFile& file) {
  throw Error(ExitCode::kResumable,
              fmt::format("the sweep was stopped on request; the same command goes on in {}",
                          file.output_dir.string()));
}

void sweep(SweepRunner& runner) {
  const SweepFile& file = runner.file();
  SearchSpace space(file.parameters, file.method, file.seed);
  int64_t count = file.trials.value_or(space.size().value_or(20));
  if (space.size()) count = std::min(count, *space.size());
  auto tell = [&](const Trial& trial) {
    const std::string value =
        trial.failure.empty()
            ? trial.measured() ? fmt::format("{} {:.5g}", file.metric, trial.value()) : "stopped"
            : trial.failure;
    say("trial {}: {}  ({})", trial.number, value, point_text(file, trial.point));
  };
  if (!file.halving) {
    // TPE wants results before it suggests, so points are asked for as trials begin.
    for (int64_t first = 0; first < count; first += file.parallel) {
      std::vector<int64_t> numbers;
      for (int64_t i = first; i < std::min(count, first + file.parallel); ++i) {
        runner.define(i, space.suggest(i, results(runner)));
        numbers.push_back(i);
      }
      if (!runner.run(numbers, 0, tell)) stopped(file);
    }
    return;
  }
  std::vector<int64_t> left;
  for (int64_t i = 0; i < count; ++i) {
    runner.define(i, space.suggest(i, {}));
    left.push_back(i);
  }
  for (int64_t steps = file.halving->min_steps;; steps *= file.halving->factor) {
    const bool last = static_cast<int64_t>(left.size()) <= 1;
    say("{} trials {}", left.size(), last ? "to the end" : fmt::format("until step {}", steps));
    if (!runner.run(left, last ? 0 : steps, tell)) stopped(file);
    if (last) return;
    std::erase_if(left, [&](int64_t number) { return !runner.trials().at(number).measured(); });
    std::stable_sort(left.begin(), left.end(), [&](int64_t a, int64_t b) {
      return score(file, runner.trials().at(a).value()) < score(file, runner.trials().at(b).value());
    });
    const bool at_end = std::all_of(left.begin(), left.end(), [&](int64_t number) {
      return runner.trials().at(number).values.contains(0);
    });
    if (at_end) return;
    const size_t kept = (left.size() + static_cast<size_t>(file.halving->factor) - 1) /
                        static_cast<size_t>(file.halving->factor);
    left.resize(std::max<size_t>(1, std::min(left.size(), kept)));
  }
}

// A line of JSON in, a line out. {"ask": true} gives the next point; {"tell": {"trial", "value"}} what came
// of it elsewhere; {"run": {"trial", "parameters", "steps"}} trains a point that the other side chose, until
// step `steps` or to the end, and gives the value.
void serve(SweepRunner& runner) {
  const SweepFile& file = runner.file();
  SearchSpace space(file.parameters, file.method, file.seed);
  auto answer = [](const OrderedJson& json) {
    std::cout << json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << std::endl;
  };
  auto parameters = [&](const SearchPoint& point) {
    OrderedJson json = OrderedJson::object();
    for (size_t i = 0; i < point.size(); ++i) json[file.parameters[i].name] = point[i];
    return json;
  };
  auto next_number = [&] { return runner.trials().empty() ? 0 : runner.trials().rbegin()->first + 1; };
  std::string line;
  for (int64_t row = 1; std::getline(std::cin, line); ++row) {
    if (line.empty()) continue;
    try {
      const Json request = parse_json(line, fmt::format("line {}", row));
      if (request.contains("ask")) {
        const int64_t number = next_number();
        if (space.size() && number >= *space.size()) {
          answer({{"done", true}});
          continue;
        }
        SearchPoint point = space.suggest(number, results(runner));
        runner.define(number, point);
        answer({{"trial", number}, {"parameters", parameters(point)}});
      } else if (request.contains("tell")) {
        runner.tell(request["tell"].at("trial"), request["tell"].at("value"));
        answer({{"ok", true}});
      } else if (request.contains("run")) {
        const Json& run = request["run"];
        const int64_t number = run.contains("trial") ? run["trial"].get<int64_t>() : next_number();
        if (run.contains("parameters")) {
          SearchPoint point;
          for (const SearchParameter& parameter : file.parameters) {
            const Json& value = run["parameters"].at(parameter.name);
            point.push_back(value.is_string() ? value.get<std::string>() : value.dump());
          }
          runner.define(number, point);
        }
        if (!runner.trials().contains(number))
          fail_usage("trial {}: there is none; give its parameters", number);
        const int64_t steps = run.value("steps", int64_t{0});
        if (!runner.run({number}, steps, [](const Trial&) {})) stopped(file);
        const Trial& trial = runner.trials().at(number);
        if (!trial.failure.empty())
          answer({{"trial", number}, {"failure", trial.failure}});
        else
          answer({{"trial", number}, {"value", trial.value()}, {"finished", trial.values.contains(0)}});
      } else {
        fail_usage("line {}: expected ask, tell or run", row);
      }
    } catch (const Json::exception& error) {
      answer({{"error", fmt::format("line {}: {}", row, error.what())}});
    } catch (const Error& error) {
      if (error.code() == ExitCode::kResumable || error.code() == ExitCode::kResources) throw;
      answer({{"error", error.what()}});
    }
  }
}

}  // namespace

void add_sweep(CLI::App& root) {
  CLI::App& command = add_command(root, "sweep", "Search options over many runs", "Train and export");
  struct Flags {
    std::string file;
    bool serve = false;
  };
  auto flags = std::make_shared<Flags>();
  command.add_option("file", flags->file, "sweep.yaml")->required()->type_name("FILE");
  command.add_flag("--serve", flags->serve, "Take JSON lines from an optimizer outside (ask, tell, run)");
  command.callback([flags] {
    SweepRunner runner(read_sweep_file(flags->file));
    if (flags->serve)
      serve(runner);
    else
      sweep(runner);
    if (!flags->serve) write_summary(runner);
  });
}

}  // namespace fettle::app
