// fettle runs: what the folders of runs say, beside each other.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/base/terminal.h"
#include "fettle/track/plot.h"
#include "fettle/track/run_folder.h"
#include "fettle/track/run_index.h"
#include "fettle/track/run_record.h"
#include "fettle/track/tensorboard.h"

namespace fettle::app {
namespace {

std::string shown(const std::optional<double>& value, const char* missing = "-") {
  return value ? fmt::format("{:.4f}", *value) : missing;
}

std::string option(const RunFolder& run, const std::string& key, const std::string& fallback = "-") {
  auto found = run.options.find(key);
  return found == run.options.end() ? fallback : found->second;
}

std::vector<double> losses(const RunFolder& run) {
  std::vector<double> values;
  for (const RunPoint& point : run.points)
    if (point.loss) values.push_back(*point.loss);
  return values;
}

// environment.json; empty for runs of older versions.
Json environment(const RunFolder& run) {
  const std::filesystem::path path = run.path / "environment.json";
  if (!std::filesystem::exists(path)) return Json::object();
  Json json = Json::parse(read_file(path, uint64_t{1} << 20), nullptr, false);
  return json.is_object() ? json : Json::object();
}

Json as_json(const RunFolder& run) {
  auto maybe = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  return {{"path", run.path.string()},
          {"name", run.name},
          {"status", status_name(run.status)},
          {"step", run.step},
          {"total_steps", run.total_steps},
          {"loss", maybe(run.last_loss())},
          {"train_loss", maybe(run.train_loss)},
          {"best_eval_loss", maybe(run.best_eval_loss())},
          {"tokens", run.tokens},
          {"tokens_per_second", run.tokens_per_second},
          {"note", read_notes(run.path).note},
          {"tags", read_notes(run.path).tags},
          {"environment", environment(run)},
          {"options", run.options}};
}

void list(const std::string& root, bool json, const std::string& tag) {
  RunIndex index(default_run_index());
  std::vector<RunFolder> runs = find_run_folders(root, index);
  if (!tag.empty())
    std::erase_if(runs, [&](const RunFolder& run) {
      const std::vector<std::string> tags = read_notes(run.path).tags;
      return std::find(tags.begin(), tags.end(), tag) == tags.end();
    });
  if (json) {
    Json all = Json::array();
    for (const RunFolder& run : runs) all.push_back(as_json(run));
    fmt::print("{}\n", all.dump(1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  if (runs.empty()) {
    say("no runs below {}", root);
    return;
  }
  Table table({"run", "status", "step", "loss", "eval_loss", "method", "model", "folder"},
              {Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  for (const RunFolder& run : runs)
    table.add_row(
        {printable(run.name, 40), status_name(run.status), fmt::format("{}/{}", run.step, run.total_steps),
         shown(run.last_loss()), shown(run.best_eval_loss()), option(run, "finetuning_type", "lora"),
         std::filesystem::path(option(run, "model_name_or_path")).filename().string(), run.path.string()});
  fmt::print("{}", table.text(is_terminal(stdout) ? terminal_columns(stdout) : 0));
}

void show(const std::string& folder, bool json) {
  RunFolder run = read_run_folder(folder);
  if (json) {
    fmt::print("{}\n", as_json(run).dump(1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  fmt::print("{}  {}  step {} of {}{}\n", styled(run.name, Style::kBold, stdout), status_name(run.status),
             run.step, run.total_steps, run.elapsed.empty() ? "" : ", " + run.elapsed);
  if (std::vector<double> values = losses(run); values.size() > 1)
    fmt::print("loss  {:.3f} {} {:.3f}\n", values.front(), sparkline(values, 50), values.back());
  if (run.train_loss)
    fmt::print("train_loss {:.4f}, {:.0f} tokens/s\n", *run.train_loss, run.tokens_per_second);
  if (run.best_eval_loss()) fmt::print("best eval_loss {:.4f}\n", *run.best_eval_loss());
  if (run.best_metric) fmt::print("best metric {:.4f} at step {}\n", *run.best_metric, run.best_step);
  const RunNotes notes = read_notes(run.path);
  if (!notes.note.empty()) fmt::print("note: {}\n", printable(notes.note, 2000));
  if (!notes.tags.empty())
    fmt::print("tags: {}\n", printable(fmt::format("{}", fmt::join(notes.tags, ", ")), 500));
  if (run.status == RunFolder::Status::kInterrupted)
    fmt::print("no process is training here; go on with resume_from_checkpoint=true\n");
  fmt::print("\n");
  Table table({});
  for (const auto& [key, value] : run.options) table.add_row({key, value});
  fmt::print("{}", table.text());
  const Json machine = environment(run);
  if (machine.empty()) return;
  Table about({});
  for (const auto& [key, value] : machine.items())
    about.add_row({key, printable(value.is_string() ? value.get<std::string>() : value.dump(), 120)});
  fmt::print("\n{}", about.text());
}

// Names that tell runs apart: their own, with the folder where two are called the same.
std::vector<std::string> labels(const std::vector<RunFolder>& runs) {
  std::vector<std::string> names;
  for (const RunFolder& run : runs) {
    int same = 0;
    for (const RunFolder& other : runs) same += other.name == run.name;
    names.push_back(printable(same > 1 ? run.path.string() : run.name, 48));
  }
  return names;
}

Chart curves(const std::string& title, const std::vector<RunFolder>& runs,
             const std::vector<std::string>& names, std::optional<double> RunPoint::*value, bool smoothed) {
  Chart chart{.title = title, .x_label = "step", .y_label = title, .series = {}, .width = 900, .height = 360};
  for (size_t i = 0; i < runs.size(); ++i) {
    Series series{.name = names[i], .x = {}, .y = {}};
    for (const RunPoint& point : runs[i].points)
      if (point.*value) {
        series.x.push_back(static_cast<double>(point.step));
        series.y.push_back(*(point.*value));
      }
    if (smoothed) series.y = smooth(series.y);
    chart.series.push_back(std::move(series));
  }
  return chart;
}

bool has_points(const Chart& chart) {
  return std::any_of(chart.series.begin(), chart.series.end(), [](const Series& s) { return !s.x.empty(); });
}

void compare(const std::vector<std::string>& folders, const std::string& png) {
  std::vector<RunFolder> runs;
  for (const std::string& folder : folders) runs.push_back(read_run_folder(folder));
  std::vector<std::string> names = labels(runs), header = {""};
  header.insert(header.end(), names.begin(), names.end());
  std::set<std::string> keys;
  for (const RunFolder& run : runs)
    for (const auto& [key, value] : run.options) keys.insert(key);
  Table table(header);
  for (const std::string& key : keys) {
    if (key == "output_dir" || key == "run_name" || key == "overwrite_output_dir") continue;
    std::set<std::string> values;
    std::vector<std::string> row = {key};
    for (const RunFolder& run : runs) {
      row.push_back(option(run, key, "(default)"));
      values.insert(row.back());
    }
    if (values.size() > 1) table.add_row(row);
  }
  auto figure = [&](const char* name, auto&& text) {
    std::vector<std::string> row = {name};
    for (const RunFolder& run : runs) row.push_back(text(run));
    table.add_row(row);
  };
  figure("status", [](const RunFolder& r) { return std::string(status_name(r.status)); });
  figure("steps", [](const RunFolder& r) { return fmt::format("{}/{}", r.step, r.total_steps); });
  figure("last loss", [](const RunFolder& r) { return shown(r.last_loss()); });
  figure("train_loss", [](const RunFolder& r) { return shown(r.train_loss); });
  figure("best eval_loss", [](const RunFolder& r) { return shown(r.best_eval_loss()); });
  figure("tokens/s", [](const RunFolder& r) { return fmt::format("{:.0f}", r.tokens_per_second); });
  figure("time", [](const RunFolder& r) { return r.elapsed; });
  fmt::print("{}", table.text());
  if (png.empty()) return;
  std::vector<Chart> charts;
  for (Chart chart : {curves("loss", runs, names, &RunPoint::loss, true),
                      curves("eval_loss", runs, names, &RunPoint::eval_loss, false),
                      curves("learning rate", runs, names, &RunPoint::learning_rate, false),
                      curves("gradient norm", runs, names, &RunPoint::grad_norm, true)})
    if (has_points(chart)) charts.push_back(std::move(chart));
  if (charts.empty()) fail_usage("nothing has been logged yet, so there is nothing to draw");
  draw_charts(charts, png);
  say("Curves: {}", png);
}

void export_csv(const std::vector<std::string>& folders, const std::string& path) {
  std::string text = "run,step,loss,eval_loss,learning_rate,grad_norm\n";
  auto cell = [](const std::optional<double>& value) {
    return value ? fmt::format("{}", *value) : std::string();
  };
  for (const std::string& folder : folders) {
    RunFolder run = read_run_folder(folder);
    std::string name;
    for (char c : run.name) name += c == '"' ? std::string("\"\"") : std::string(1, c);
    for (const RunPoint& point : run.points)
      text += fmt::format("\"{}\",{},{},{},{},{}\n", name, point.step, cell(point.loss),
                          cell(point.eval_loss), cell(point.learning_rate), cell(point.grad_norm));
  }
  if (path.empty())
    fmt::print("{}", text);
  else
    write_file_atomically(path, text);
}

// Times lie evenly between the beginning and the last line of the log.
void export_tensorboard(const std::vector<std::string>& folders, const std::string& target) {
  for (const std::string& folder : folders) {
    const RunFolder run = read_run_folder(folder);
    const double end =
        std::chrono::duration<double>(std::chrono::file_clock::to_sys(run.changed).time_since_epoch())
            .count();
    const Json machine = environment(run);
    const double begin = machine.contains("started_at") && machine["started_at"].is_number()
                             ? std::min(end, machine["started_at"].get<double>())
                             : end;
    std::vector<ScalarEvent> events;
    for (const RunPoint& point : run.points) {
      const double share = static_cast<double>(point.step) / std::max(1.0, static_cast<double>(run.step));
      auto add = [&](const char* tag, const std::optional<double>& value) {
        if (value)
          events.push_back({begin + share * (end - begin), point.step, tag, static_cast<float>(*value)});
      };
      add("train/loss", point.loss);
      add("train/learning_rate", point.learning_rate);
      add("train/grad_norm", point.grad_norm);
      add("eval/loss", point.eval_loss);
    }
    std::string name;
    for (char c : run.name) name += c == '/' || c == '\\' ? '_' : c;
    const std::filesystem::path out = std::filesystem::path(target) / (name.empty() ? "run" : name);
    std::filesystem::create_directories(out);
    write_events(out / fmt::format("events.out.tfevents.{}.fettle", static_cast<int64_t>(end)), events);
    say("{}: {} values", out.string(), events.size());
  }
}

void annotate(const std::string& folder, const std::optional<std::string>& note,
              const std::vector<std::string>& add, const std::vector<std::string>& drop) {
  read_run_folder(folder);
  RunNotes notes = read_notes(folder);
  if (note) notes.note = *note;
  for (const std::string& tag : add)
    if (std::find(notes.tags.begin(), notes.tags.end(), tag) == notes.tags.end()) notes.tags.push_back(tag);
  for (const std::string& tag : drop) std::erase(notes.tags, tag);
  write_notes(folder, notes);
}

void tail(const std::string& folder) {
  size_t said = 0;
  while (true) {
    RunFolder run = read_run_folder(folder);
    if (said > run.points.size()) said = 0;  // the log began anew
    for (; said < run.points.size(); ++said) {
      const RunPoint& point = run.points[said];
      std::string line = fmt::format("step {}/{}", point.step, run.total_steps);
      if (point.loss) line += fmt::format("  loss {:.4f}", *point.loss);
      if (point.eval_loss) line += fmt::format("  eval_loss {:.4f}", *point.eval_loss);
      if (point.learning_rate) line += fmt::format("  lr {:.2e}", *point.learning_rate);
      if (point.grad_norm) line += fmt::format("  grad_norm {:.3f}", *point.grad_norm);
      fmt::print("{}\n", line);
    }
    std::fflush(stdout);
    if (run.status != RunFolder::Status::kRunning) {
      say("{} at step {} of {}", status_name(run.status), run.step, run.total_steps);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

// Removed only when it is a run, no process is in it, and the user named it.
void remove(const std::vector<std::string>& folders, bool yes) {
  for (const std::string& folder : folders) {
    RunFolder run = read_run_folder(folder);
    if (run.status == RunFolder::Status::kRunning) fail_usage("{}: a process is training there", folder);
    if (!yes) {
      say("{}: {} of {} steps, {}; --yes removes it with its checkpoints", folder, run.step, run.total_steps,
          status_name(run.status));
      continue;
    }
    std::filesystem::remove_all(folder);
    say("removed {}", folder);
  }
}

}  // namespace

void add_runs(CLI::App& root) {
  CLI::App& command = add_command(root, "runs", "List, show and compare training runs", "Train and export");
  command.require_subcommand(1);
  struct Flags {
    std::string root = ".", folder, file, tensorboard, tag;
    std::optional<std::string> note;
    std::vector<std::string> folders, tags, drop;
    bool json = false, yes = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& list_command = add_command(command, "list", "All runs below a folder, the newest first");
  list_command.add_option("root", flags->root, "Folder to search (default: here)")->type_name("DIR");
  list_command.add_flag("--json", flags->json, "As JSON");
  list_command.add_option("--tag", flags->tag, "Only runs with this tag")->type_name("TAG");
  list_command.callback([flags] { list(flags->root, flags->json, flags->tag); });
  CLI::App& show_command = add_command(command, "show", "Figures and options of a run");
  show_command.add_option("run", flags->folder, "Output folder of a run")->required()->type_name("DIR");
  show_command.add_flag("--json", flags->json, "As JSON");
  show_command.callback([flags] { show(flags->folder, flags->json); });
  CLI::App& compare_command =
      add_command(command, "compare", "Options that differ and final figures, side by side");
  compare_command.add_option("runs", flags->folders, "Output folders of runs")
      ->required()
      ->type_name("DIR …");
  compare_command.add_option("--png", flags->file, "Draw loss, learning rate and gradient norm of all")
      ->type_name("FILE");
  compare_command.callback([flags] { compare(flags->folders, flags->file); });
  CLI::App& tail_command = add_command(command, "tail", "Follow the log of a run until it ends");
  tail_command.add_option("run", flags->folder, "Output folder of a run")->required()->type_name("DIR");
  tail_command.callback([flags] { tail(flags->folder); });
  CLI::App& export_command = add_command(command, "export", "Logged figures as CSV or for TensorBoard");
  export_command.add_option("runs", flags->folders, "Output folders of runs")->required()->type_name("DIR …");
  export_command.add_option("--csv", flags->file, "File; default: standard output")->type_name("FILE");
  export_command.add_option("--tensorboard", flags->tensorboard, "Folder for event files, one folder a run")
      ->type_name("DIR");
  export_command.callback([flags] {
    if (!flags->tensorboard.empty()) export_tensorboard(flags->folders, flags->tensorboard);
    if (flags->tensorboard.empty() || !flags->file.empty()) export_csv(flags->folders, flags->file);
  });
  CLI::App& note_command = add_command(command, "note", "Write a note or tags to a run");
  note_command.add_option("run", flags->folder, "Output folder of a run")->required()->type_name("DIR");
  note_command.add_option("text", flags->note, "The note, in place of the one before")->type_name("TEXT");
  note_command.add_option("--tag", flags->tags, "Tag to add")->type_name("TAG");
  note_command.add_option("--untag", flags->drop, "Tag to remove")->type_name("TAG");
  note_command.callback([flags] { annotate(flags->folder, flags->note, flags->tags, flags->drop); });
  CLI::App& remove_command = add_command(command, "rm", "Remove the folders of runs");
  remove_command.add_option("runs", flags->folders, "Output folders of runs")->required()->type_name("DIR …");
  remove_command.add_flag("--yes", flags->yes, "Do it");
  remove_command.callback([flags] { remove(flags->folders, flags->yes); });
}

}  // namespace fettle::app
