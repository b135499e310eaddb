#include "fettle/train/estimate.h"

#include <algorithm>
#include <functional>

#include "fettle/base/error.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/train/disk_plan.h"
#include "fettle/train/passes.h"
#include "fettle/train/time_plan.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

int64_t longest_row(const Examples& examples) {
  int64_t longest = 0;
  for (size_t row = 0; row < examples.size(); ++row) longest = std::max(longest, examples.length(row));
  return longest;
}

int64_t tokens_of(const Examples& rows) {
  int64_t tokens = 0;
  for (size_t row = 0; row < rows.size(); ++row) tokens += rows.length(row);
  return tokens;
}

Examples longest_alone(const Examples& rows) {
  size_t longest = 0;
  for (size_t row = 1; row < rows.size(); ++row)
    if (rows.length(row) > rows.length(longest)) longest = row;
  return rows.select({longest});
}

}  // namespace

RunEstimate::RunEstimate(const Config& config, PlannedRun run, Examples training)
    : config_(config),
      run_(std::move(run)),
      training_(std::move(training)),
      rows_(largest_pass(training_, run_.arguments)) {
  run_.lengths_vary = passes_by_tokens(training_, run_.arguments).size() > 1;
  run_.embedding_share = embedding_share(*run_.model->embeddings().front()->weight, training_);
}

const MemoryPlan& RunEstimate::memory() const {
  if (!memory_) memory_ = plan_memory(run_, rows_);
  return *memory_;
}

std::optional<RunEstimate::Budget> RunEstimate::budget() const {
  const MemoryInfo info = memory_info();
  const uint64_t present = resident_bytes();
  if (info.available == 0) return std::nullopt;
  // What is loaded already is part of the prediction and no longer free.
  Budget free{info.available + present,
              fmt::format("{} that {}", format_bytes(info.available + present),
                          info.limit ? "the control group of this process leaves" : "are free")};
  if (info.address_space) {
    // Mapped weights have their addresses already.
    const uint64_t taken = std::max(present, memory().weights + memory().trainable + memory().program);
    if (const uint64_t bytes = *info.address_space + taken; bytes < free.bytes)
      free = {bytes,
              fmt::format("{} that the limit of address space (ulimit -v) leaves", format_bytes(bytes))};
  }
  return free;
}

int64_t RunEstimate::bound_passes_by_memory(std::optional<uint64_t> bytes) {
  if (!bytes)
    if (const std::optional<Budget> free = budget()) bytes = free->bytes;
  TrainArguments& a = run_.arguments;
  auto fits = [&](int64_t tokens) {
    a.per_device_train_batch_tokens = tokens;
    rows_ = largest_pass(training_, a);
    memory_.reset();
    return !bytes || memory().needs() <= *bytes / 10 * 9;
  };
  a.per_device_train_batch_tokens = 0;
  const int64_t all = tokens_of(largest_pass(training_, a));
  if (fits(all)) return all;
  int64_t low = longest_row(training_), high = all;
  while (low + 1 < high) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  fits(low);
  return low;
}

bool RunEstimate::keeps_blocks_by_memory(std::optional<uint64_t> bytes) {
  if (!bytes)
    if (const std::optional<Budget> free = budget()) bytes = free->bytes;
  if (!bytes) return false;
  auto keep = [&](bool keeps) {
    run_.arguments.gradient_checkpointing = !keeps;
    run_.arguments.selective_checkpointing = keeps;
    memory_.reset();
  };
  keep(true);
  const bool ample = memory().needs() <= *bytes / 2;
  if (!ample) keep(false);
  return ample;
}

std::string RunEstimate::memory_text() const {
  const MemoryPlan& m = memory();
  return fmt::format("{} predicted peak: weights {}, trained {}, activations {}, head {}, rest {}",
                     format_bytes(m.total()), format_bytes(m.weights),
                     format_bytes(m.trainable + m.gradients + m.optimizer), format_bytes(m.activations),
                     format_bytes(m.head), format_bytes(m.workspace + m.program));
}

std::vector<RunEstimate::Variation> RunEstimate::variations() const {
  std::vector<Variation> all;
  auto add = [&](const std::string& options, const std::function<void(Variation&)>& change) {
    Variation variation{options, run_, rows_};
    change(variation);
    all.push_back(std::move(variation));
  };
  const TrainArguments& a = run_.arguments;
  auto checkpointing = [&](const char* word, bool blocks) {
    add(fmt::format("gradient_checkpointing={}", word), [blocks](Variation& v) {
      v.run.arguments.gradient_checkpointing = blocks;
      v.run.arguments.selective_checkpointing = !blocks;
    });
  };
  if (!a.gradient_checkpointing && !a.selective_checkpointing) checkpointing("selective", false);
  if (!a.gradient_checkpointing) checkpointing("true", true);
  if (rows_.size() > 1)
    add(fmt::format("per_device_train_batch_size=1 gradient_accumulation_steps={}",
                    a.per_device_train_batch_size * a.gradient_accumulation_steps),
        [](Variation& v) { v.rows = longest_alone(v.rows); });
  const int64_t half = longest_row(rows_) / 2;
  if (half > 0)
    add(fmt::format("cutoff_len={}", half), [half](Variation& v) { v.rows = cut_to(v.rows, half); });
  auto optimizer = [&](const char* name) {
    add(fmt::format("optim={}", name), [name](Variation& v) { v.run.arguments.optimizer.name = name; });
  };
  if (a.optimizer.name == "adamw") optimizer(trains_base() ? "adafactor" : "adamw_8bit");
  if (a.optimizer.name == "adamw" && trains_base()) optimizer("adamw_8bit");
  if (!trains_base() && !config_.is_set("quantization_bit")) {
    int64_t saved = 0;
    for (const Linear* linear : run_.model->linears())
      if (linear != &run_.model->head() && !linear->conv1d && !linear->weight->quantized) {
        // Half a byte an element, a byte for each 64 and four for each 64 x 256.
        const int64_t n = linear->weight->numel(), packed = n / 2 + n / 64 + n / 4096;
        saved += std::max<int64_t>(0, static_cast<int64_t>(linear->weight->nbytes()) - packed);
      }
    if (saved > 0) add("quantization_bit=4", [saved](Variation& v) { v.weights = -saved; });
  }
  return all;
}

std::vector<RunEstimate::Change> RunEstimate::changes() const {
  const uint64_t now = memory().needs();
  std::vector<Change> helpful;
  for (const Variation& v : variations()) {
    const uint64_t total = plan_memory(v.run, v.rows).needs() + static_cast<uint64_t>(v.weights);
    // Less than a hundredth is no help.
    if (total + now / 100 >= now) continue;
    helpful.push_back({v.options, total});
  }
  return helpful;
}

void RunEstimate::check(bool refuse) const {
  const std::optional<Budget> free = budget();
  if (!free || memory().needs() <= free->bytes) return;
  std::string text =
      fmt::format("the predicted peak of {} exceeds the {}", format_bytes(memory().needs()), free->text);
  for (const Change& change : changes())
    text += fmt::format("\n  {}: {}{}", change.options, format_bytes(change.total),
                        change.total <= free->bytes ? ", which fits" : "");
  if (!refuse || config_.get<std::string>("memory_check") == "warn")
    warn("{}", text);
  else
    fail_resources("{}\nmemory_check=warn trains all the same", text);
}

void RunEstimate::say_parts() const {
  const MemoryPlan& m = memory();
  Table parts({"memory", ""}, {Align::kLeft, Align::kRight});
  for (const auto& [name, bytes] :
       std::vector<std::pair<const char*, uint64_t>>{{"base weights", m.weights},
                                                     {"trained weights beside them", m.trainable},
                                                     {"gradients", m.gradients},
                                                     {"optimizer state", m.optimizer},
                                                     {"activations", m.activations},
                                                     {"head", m.head},
                                                     {"workspace", m.workspace},
                                                     {"program and data", m.program},
                                                     {"predicted peak", m.total()}})
    parts.add_row({name, format_bytes(bytes)});
  fmt::print("{}", parts.text());
  if (m.total() > m.needs())
    fmt::print("The peak is that of loading and initialising; training takes {}.\n", format_bytes(m.needs()));
  if (trains_base()) {
    int64_t parameters = 0;
    for (const Parameter* parameter : run_.model->parameters()) parameters += parameter->numel();
    fmt::print(
        "{:.1f} bytes a parameter; a rule of thumb for full fine-tuning with Adam says 17.5 "
        "(docs/memory.md).\n",
        static_cast<double>(m.needs()) / static_cast<double>(parameters));
  }
  if (const std::optional<Budget> free = budget())
    fmt::print("It {} the {}.\n", m.needs() <= free->bytes ? "fits into" : "exceeds", free->text);
}

void RunEstimate::say_device(uint64_t bytes) const {
  const MemoryPlan m = plan_device_memory(run_, rows_);
  fmt::print(
      "\nA GPU of {}: {} would be needed (weights {}, trained {}, activations {}, head {}, the runtime {}): "
      "{}.\n"
      "Computed, not measured: Fettle has no GPU backend yet.\n",
      format_bytes(bytes), format_bytes(m.needs()), format_bytes(m.weights),
      format_bytes(m.trainable + m.gradients + m.optimizer), format_bytes(m.activations),
      format_bytes(m.head + m.workspace), format_bytes(m.program),
      m.needs() <= bytes ? "it fits" : "it does not fit");
}

void RunEstimate::say_time(const fs::path& output) const {
  const auto [checkpoint, result] = saved_bytes();
  const TimePlan time = plan_time(run_, training_, output, checkpoint, result);
  std::vector<std::string> measured;
  for (const auto& [tokens, seconds] : time.pass_seconds)
    measured.push_back(fmt::format("{} tokens in {:.2f} s", format_count(tokens), seconds));
  fmt::print("\ntime      {}: training {}", format_duration(time.total()), format_duration(time.training));
  if (time.evaluations > 0)
    fmt::print(", {} evaluations {}", time.evaluations, format_duration(time.evaluation));
  fmt::print(", saving {}\nspeed     {:.0f} tokens/s; measured: passes of {}, an update in {:.2f} s\n",
             format_duration(time.saving), static_cast<double>(time.tokens) / std::max(time.training, 1e-9),
             fmt::format("{}", fmt::join(measured, ", ")), time.update_seconds);
}

std::pair<uint64_t, uint64_t> RunEstimate::saved_bytes() const {
  const DiskPlan disk =
      plan_disk(*run_.model, trains_base() ? config_.get<std::string>("model_name_or_path") : std::string(),
                run_.arguments.compute == DType::kBF16 ? DType::kBF16 : DType::kF32, run_.trainables,
                memory().optimizer, config_.get<bool>("save_only_model"));
  return {disk.checkpoint, disk.result};
}

void RunEstimate::say(const fs::path& output, const EstimateOptions& options) const {
  say_parts();
  if (std::vector<Change> helpful = changes(); !helpful.empty()) {
    Table table({"with", "predicted peak"}, {Align::kLeft, Align::kRight});
    for (const Change& change : helpful) table.add_row({change.options, format_bytes(change.total)});
    fmt::print("\n{}", table.text());
  }
  if (options.device_memory) say_device(*options.device_memory);
  const std::optional<Budget> free = budget();
  if (options.time && free && memory().needs() > free->bytes)
    fmt::print("\ntime      not measured, since the run does not fit\n");
  else if (options.time)
    say_time(output);
  fmt::print("disk      a checkpoint takes {}", format_bytes(saved_bytes().first));
  if (std::optional<uint64_t> room = disk_free(output)) fmt::print("; {} are free", format_bytes(*room));
  fmt::print("\n");
}

}  // namespace fettle
