#include "fettle/train/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/failpoint.h"
#include "fettle/base/file.h"
#include "fettle/base/hash.h"
#include "fettle/base/terminal.h"
#include "fettle/formats/safetensors.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr int kFormatVersion = 1;
constexpr const char* kStateFile = "training_state.json";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kAdapterStateFile = "adapter_state.safetensors";
constexpr const char* kManifest = "manifest.json";

// Options that may change between a checkpoint and the run that goes on from it: where things go, what is
// shown and how often, how many threads work. How long to train may change too, though the schedule then has
// another end.
bool may_change(std::string_view name) {
  static constexpr std::string_view kFree[] = {"output_dir",
                                               "overwrite_output_dir",
                                               "resume_from_checkpoint",
                                               "logging_steps",
                                               "logging_strategy",
                                               "logging_first_step",
                                               "plot_loss",
                                               "run_name",
                                               "report_to",
                                               "save_steps",
                                               "save_strategy",
                                               "save_total_limit",
                                               "save_only_model",
                                               "save_failure",
                                               "disk_check",
                                               "threads",
                                               "memory_check",
                                               "num_train_epochs",
                                               "max_steps",
                                               "val_size",
                                               "eval_dataset",
                                               "eval_strategy",
                                               "eval_steps",
                                               "eval_delay",
                                               "per_device_eval_batch_size",
                                               "dataset_dir",
                                               "streaming",
                                               "stop_at_step",
                                               "do_eval",
                                               "do_predict",
                                               "compute_accuracy",
                                               "predict_with_generate",
                                               "tokenized_path",
                                               "overwrite_cache",
                                               "model_name_or_path",
                                               "gradient_checkpointing"};
  // val_size decides which rows are trained, but then the data differ, which is told by their own hash.
  return std::find(std::begin(kFree), std::end(kFree), name) != std::end(kFree);
}

Json progress_json(const TrainerProgress& p) {
  return {{"step", p.step},
          {"micro_step", p.micro_step},
          {"tokens", p.tokens},
          {"samples", p.samples},
          {"total_loss", p.total_loss},
          {"window_loss", p.window_loss},
          {"window_steps", p.window_steps},
          {"window_tokens", p.window_tokens},
          {"elapsed_seconds", p.elapsed_seconds},
          {"best_step", p.best_step},
          {"best_metric", p.best_metric},
          {"evaluations_without_gain", p.evaluations_without_gain},
          {"batch_tokens", p.batch_tokens},
          {"loss_scale", p.loss_scale.scale},
          {"loss_scale_good_steps", p.loss_scale.good_steps},
          {"skipped_steps", p.loss_scale.skipped},
          {"skipped_in_a_row", p.loss_scale.skipped_in_a_row},
          {"loss_mean", p.loss_mean},
          {"loss_variance", p.loss_variance},
          {"plateau_rate", p.plateau.rate},
          {"plateau_best", p.plateau.best},
          {"plateau_seen", p.plateau.seen},
          {"plateau_bad", p.plateau.bad},
          {"plateau_cooldown", p.plateau.cooldown}};
}

TrainerProgress read_progress(const Json& json) {
  return {.step = json.at("step"),
          .micro_step = json.at("micro_step"),
          .tokens = json.at("tokens"),
          .samples = json.at("samples"),
          .total_loss = json.at("total_loss"),
          .window_loss = json.at("window_loss"),
          .window_steps = json.at("window_steps"),
          .window_tokens = json.at("window_tokens"),
          .elapsed_seconds = json.at("elapsed_seconds"),
          .best_step = json.value("best_step", int64_t{0}),
          .best_metric = json.value("best_metric", 0.0),
          .evaluations_without_gain = json.value("evaluations_without_gain", int64_t{0}),
          .plateau = {.rate = json.value("plateau_rate", 0.0),
                      .best = json.value("plateau_best", 0.0),
                      .seen = json.value("plateau_seen", false),
                      .bad = json.value("plateau_bad", int64_t{0}),
                      .cooldown = json.value("plateau_cooldown", int64_t{0})},
          .loss_scale = {.scale = json.value("loss_scale", 0.0),
                         .good_steps = json.value("loss_scale_good_steps", int64_t{0}),
                         .skipped = json.value("skipped_steps", int64_t{0}),
                         .skipped_in_a_row = json.value("skipped_in_a_row", int64_t{0})},
          .loss_mean = json.value("loss_mean", 0.0),
          .loss_variance = json.value("loss_variance", 0.0),
          .batch_tokens = json.value("batch_tokens", int64_t{0})};
}

}  // namespace

std::optional<int64_t> checkpoint_step(const fs::path& folder) {
  std::string name = folder.filename().string();
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix) || name.size() > kPrefix.size() + 18) return std::nullopt;
  std::string digits = name.substr(kPrefix.size());
  if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) return std::nullopt;
  return std::stoll(digits);
}

RunIdentity identify_run(const Config& config, const Dataset& data,
                         const std::vector<Parameter*>& trainables) {
  RunIdentity identity;
  identity.options = Json::object();
  for (const Option& option : all_options())
    if (option.status == OptionStatus::kSupported && !may_change(option.name))
      identity.options[std::string(option.name)] = config.value_text(option.name);
  Hash rows;
  for (const Example example : data.examples) {
    rows.add_count(example.ids.size());
    rows.add(example.ids.data(), example.ids.size() * sizeof(int32_t));
    rows.add(example.labels.data(), example.labels.size() * sizeof(int32_t));
    rows.add(example.lengths.data(), example.lengths.size() * sizeof(int32_t));
  }
  identity.data = rows.text();
  Hash shapes;
  for (const Parameter* parameter : trainables) {
    shapes.add(parameter->name.data(), parameter->name.size() + 1);
    for (int64_t size : parameter->shape) shapes.add_count(static_cast<uint64_t>(size));
  }
  identity.parameters = shapes.text();
  return identity;
}

void write_training_state(const fs::path& folder, const CheckpointState& state, const Optimizer* optimizer) {
  Json json = {{"format_version", kFormatVersion},        {"progress", progress_json(state.progress)},
               {"log_history", state.log_history},        {"log_bytes", state.log_bytes},
               {"options", state.identity.options},       {"data", state.identity.data},
               {"parameters", state.identity.parameters}, {"resumable", optimizer != nullptr}};
  write_file_atomically(folder / kStateFile, json.dump(1) + "\n");
  if (!optimizer) return;
  failpoint("save-optimizer");
  optimizer->write(folder / kOptimizerFile);
}

void write_adapter_state(const fs::path& folder, const Adapter& adapter) {
  std::map<std::string, Tensor> state = adapter.training_state();
  if (!state.empty()) write_safetensors(folder / kAdapterStateFile, state);
}

void read_adapter_state(const fs::path& folder, Adapter& adapter) {
  std::map<std::string, Tensor> state;
  if (fs::exists(folder / kAdapterStateFile)) {
    SafetensorsFile file(folder / kAdapterStateFile);
    for (const auto& [name, info] : file.tensors()) state[name] = file.tensor(name);
  }
  adapter.restore_training_state(state);
}

void copy_checkpoint_weights(const fs::path& checkpoint, const fs::path& output) {
  static const std::set<std::string> kOwn = {kManifest, kStateFile, kOptimizerFile, kAdapterStateFile,
                                             "trainer_state.json"};
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoint)) {
    std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || kOwn.contains(name)) continue;
    copy_file_atomically(entry.path(), output / name);
  }
}

void seal_checkpoint(const fs::path& folder, int64_t step) {
  Json files = Json::object();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    sync_path(entry.path());
    files[entry.path().filename().string()] = {{"bytes", entry.file_size()},
                                               {"xxh3_128", file_hash(entry.path())}};
  }
  failpoint("save-manifest");
  Json manifest = {{"format_version", kFormatVersion}, {"step", step}, {"files", files}};
  write_file_atomically(folder / kManifest, manifest.dump(1) + "\n");
  sync_path(folder);
}

std::string checkpoint_problem(const fs::path& folder) {
  if (!fs::exists(folder / kManifest)) return "no manifest.json: not written by this program, or not whole";
  try {
    Json manifest = read_json(folder / kManifest);
    if (manifest.at("format_version") != kFormatVersion)
      return fmt::format("format version {}, this program knows {}", manifest["format_version"].dump(),
                         kFormatVersion);
    if (std::optional<int64_t> step = checkpoint_step(folder); step && manifest.at("step") != *step)
      return "manifest.json is of another step";
    for (const auto& [name, file] : manifest.at("files").items()) {
      if (!is_contained_path(name)) return "manifest.json names files outside of the folder";
      fs::path path = folder / name;
      if (!fs::is_regular_file(path)) return name + " is missing";
      uint64_t bytes = file.at("bytes").get<uint64_t>();
      if (fs::file_size(path) != bytes)
        return fmt::format("{} has {} bytes, expected {}", name, fs::file_size(path), bytes);
      if (file_hash(path) != file.at("xxh3_128").get<std::string>())
        return name + ": its content has changed";
    }
    for (const char* name : {kStateFile, kOptimizerFile})
      if (!manifest["files"].contains(name))
        return std::string(name) + " is missing: it was saved with save_only_model";
  } catch (const nlohmann::json::exception&) {
    return "manifest.json is damaged";
  } catch (const Error& error) {
    return error.what();
  } catch (const fs::filesystem_error& error) {
    return error.what();
  }
  return "";
}

int64_t count_checkpoints(const fs::path& output_dir) {
  int64_t count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir))
    if (checkpoint_step(entry.path())) ++count;
  return count;
}

fs::path find_checkpoint(const std::string& wanted, const fs::path& output_dir) {
  if (wanted != "true" && wanted != "latest") {
    fs::path folder = wanted;
    if (!fs::is_directory(folder)) fail_usage("resume_from_checkpoint {}: no such folder", wanted);
    std::string problem = checkpoint_problem(folder);
    if (problem.empty()) return folder;
    if (is_trainer_checkpoint(folder)) return folder;
    fail_input("resume_from_checkpoint {}: {}", wanted, problem);
  }
  std::vector<std::pair<int64_t, fs::path>> candidates;
  if (fs::is_directory(output_dir))
    for (const fs::directory_entry& entry : fs::directory_iterator(output_dir))
      if (std::optional<int64_t> step = checkpoint_step(entry.path()); step && entry.is_directory())
        candidates.emplace_back(*step, entry.path());
  std::sort(candidates.rbegin(), candidates.rend());
  for (const auto& [step, folder] : candidates) {
    std::string problem = checkpoint_problem(folder);
    if (problem.empty()) return folder;
    warn("skipped {}: {}", folder.filename().string(), problem);
  }
  fail_input(
      "{}: no valid checkpoint to resume from; to begin anew leave resume_from_checkpoint out and set "
      "overwrite_output_dir=true",
      output_dir.string());
}

bool is_trainer_checkpoint(const fs::path& folder) {
  return !fs::exists(folder / kManifest) && !fs::exists(folder / kStateFile) &&
         fs::exists(folder / "trainer_state.json");
}

CheckpointState read_trainer_checkpoint(const fs::path& folder, const TrainArguments& arguments) {
  const fs::path path = folder / "trainer_state.json";
  const Json json = read_json(path);
  CheckpointState state;
  auto bad = [&](const char* what) { fail_input("{}: {}", path.string(), what); };
  if (!json.is_object() || !json.contains("global_step") || !json["global_step"].is_number_integer())
    bad("no global_step");
  const int64_t step = json["global_step"];
  if (step < 1 || step > int64_t{1} << 40) bad("global_step is no number of steps");
  TrainerProgress& p = state.progress;
  p.step = step;
  p.micro_step = step * arguments.gradient_accumulation_steps;
  p.samples = step * arguments.gradient_accumulation_steps * arguments.per_device_train_batch_size;
  auto number = [&](const char* key) {
    return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
  };
  p.tokens = p.window_tokens = static_cast<int64_t>(std::clamp(number("num_input_tokens_seen"), 0.0, 1e15));
  p.best_step = static_cast<int64_t>(std::clamp(number("best_global_step"), 0.0, 1e12));
  p.best_metric = number("best_metric");
  double losses = 0;
  int64_t logged = 0;
  if (json.contains("log_history") && json["log_history"].is_array())
    for (const Json& entry : json["log_history"]) {
      if (!entry.is_object() || !entry.contains("step") || !entry["step"].is_number()) continue;
      state.log_history.push_back(entry);
      if (!entry.contains("loss") || !entry["loss"].is_number()) continue;
      losses += entry["loss"].get<double>();
      ++logged;
    }
  // The mean of what was logged stands for the steps before.
  p.total_loss = logged > 0 ? losses / static_cast<double>(logged) * static_cast<double>(step) : 0;
  p.plateau.rate = arguments.learning_rate;
  return state;
}

CheckpointState load_checkpoint(const fs::path& folder, const RunIdentity& identity, Optimizer& optimizer) {
  std::string origin = (folder / kStateFile).string();
  CheckpointState state;
  try {
    Json json = read_json(folder / kStateFile);
    for (const auto& [name, value] : json.at("options").items())
      if (identity.options.contains(name) && identity.options[name] != value)
        fail_usage("{}: the checkpoint was made with {}: {}, the run says {}; go on with the same options",
                   origin, name, value.get<std::string>(), identity.options[name].get<std::string>());
    if (json.at("parameters") != identity.parameters)
      fail_usage("{}: the checkpoint trains other weights than this run", origin);
    if (json.at("data") != identity.data)
      fail_usage(
          "{}: the data differ from those of the checkpoint (rows, template or tokenizer have changed)",
          origin);
    state.progress = read_progress(json.at("progress"));
    state.log_history = json.at("log_history");
    state.log_bytes = json.at("log_bytes");
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: {}", origin, error.what());
  }
  state.identity = identity;
  optimizer.read(folder / kOptimizerFile, state.progress.step - state.progress.loss_scale.skipped);
  return state;
}

RunLock::RunLock(const fs::path& output_dir) {
  fs::path path = output_dir / ".lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_resources("{}: cannot create: {}", path.string(), std::strerror(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    ssize_t length = ::pread(fd_, holder, sizeof holder - 1, 0);
    ::close(fd_);
    fail_resources("output_dir {}: process {} is training there; wait for it or name another folder",
                   output_dir.string(),
                   length > 0 ? std::string(holder, static_cast<size_t>(length)) : "another");
  }
  std::string own = std::to_string(::getpid());
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, own.data(), own.size(), 0) < 0) {
    // The number is only for the message of a second run.
  }
}

RunLock::~RunLock() {
  ::close(fd_);
}

void remove_leftovers(const fs::path& output_dir) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir)) {
    std::string name = entry.path().filename().string();
    // "name.PID.tmp" of a file that never got its name.
    const bool staged =
        fs::path(name).extension() == ".tmp" &&
        fs::path(name).stem().extension().string().find_first_not_of(".0123456789") == name.npos &&
        fs::path(name).stem().has_extension();
    if (entry.is_directory()
            ? (name.starts_with("checkpoint-") && name.ends_with(".tmp")) || name.starts_with(".trash-")
            : staged)
      fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace fettle
