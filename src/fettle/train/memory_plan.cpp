#include "fettle/train/memory_plan.h"

#include <algorithm>
#include <set>

#include "fettle/base/mapped_pages.h"
#include "fettle/base/system.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/communicator.h"
#include "fettle/kernels/rehearsal.h"
#include "fettle/peft/adalora.h"
#include "fettle/tensor/rehearsal.h"

namespace fettle {
namespace {

// oneDNN's code for the shapes of a run in f32, and what each thread adds beside tensors: measured as what a
// run with hardly any tensors adds to the process.
constexpr uint64_t kKernelCode = uint64_t{2} << 20, kThread = uint64_t{1} << 19;
// And its code for passes of many lengths, after some hundred of them.
constexpr uint64_t kManyLengths = uint64_t{36} << 20;

uint64_t kernel_code(const PlannedRun& run) {
  if (run.arguments.compute == DType::kBF16 && cpu_backend().has_native_bf16()) return 0;
  return kKernelCode + (run.lengths_vary ? kManyLengths : 0);
}

// The batch of most tokens of each set.
std::vector<EvaluationSet> largest_batches(const std::vector<EvaluationSet>& sets, int64_t batch) {
  std::vector<EvaluationSet> largest;
  for (const EvaluationSet& set : sets) {
    size_t best = 0;
    int64_t most = 0;
    const size_t count = set.examples.size(), step = static_cast<size_t>(batch);
    for (size_t begin = 0; begin < count; begin += step) {
      int64_t tokens = 0;
      for (size_t row = begin; row < std::min(count, begin + step); ++row) tokens += set.examples.length(row);
      if (tokens > most) {
        most = tokens;
        best = begin;
      }
    }
    std::vector<size_t> rows;
    for (size_t row = best; row < std::min(count, best + step); ++row) rows.push_back(row);
    largest.push_back({set.name, set.examples.select(rows)});
  }
  return largest;
}

// Gradients to evaluation: what lies beside the weights while a run goes on.
void rehearse_training(const PlannedRun& run, const Examples& rows, bool on_device, MemoryPlan& plan) {
  MemoryRehearsal rehearsal;
  const std::unique_ptr<Backend> backend = rehearsal_backend(on_device);
  TrainArguments arguments = one_pass(run.arguments, rows);
  if (on_device) arguments.compute = DType::kBF16;
  {
    const std::unique_ptr<Optimizer> optimizer =
        make_optimizer(*backend, run.trainables, arguments.optimizer);
    const uint64_t made = held_memory().current;
    for (const Parameter* parameter : run.trainables) plan.gradients += parameter->gradient.nbytes();
    // Paged state lies in files of its own size, all of it in memory where there is room.
    plan.optimizer = run.arguments.optimizer.paged_in.empty() ? made - std::min(made, plan.gradients)
                                                              : optimizer->state_bytes();
    Profile profile;
    Trainer trainer(*run.model, *backend, single_process(), *optimizer, rows, arguments, {});
    trainer.set_adapter(run.adapter);
    trainer.set_profile(&profile);
    trainer.rehearse(all_rows(rows));
    uint64_t before = made;
    for (const ProfileEvent& phase : profile.events()) {
      (phase.name == "head and loss" ? plan.head : plan.activations) += phase.held - before;
      before = phase.held;
    }
    optimizer->rehearse_step();
    if (!run.evaluation.empty()) {
      rehearsal.trim();
      EvaluationOptions options;
      options.batch_size = run.evaluation_batch;
      options.loss = arguments.loss;
      Evaluator(*run.model, *backend, arguments.compute,
                largest_batches(run.evaluation, run.evaluation_batch), options)
          .run(0, 0);
    }
    const uint64_t most = held_memory().peak;
    plan.workspace = most - std::min(most, before);
    if (run.adapter) plan.optimizer += adalora_state_bytes(*run.adapter);
  }
  for (Parameter* parameter : run.trainables) parameter->gradient = Tensor();
}

}  // namespace

double embedding_share(const Parameter& table, const Examples& examples) {
  constexpr int64_t kMostTokens = 4'000'000;
  // What the system reads around a page that is missed.
  constexpr uint64_t kAround = 64 << 10;
  const uint64_t width = table.nbytes() / static_cast<uint64_t>(std::max<int64_t>(1, table.shape[0]));
  std::vector<bool> seen(table.nbytes() / kAround + 1);
  int64_t tokens = 0;
  for (size_t row = 0; row < examples.size() && tokens < kMostTokens; ++row) {
    const Example example = examples[row];
    for (int32_t id : example.ids) seen[static_cast<uint64_t>(id) * width / kAround] = true;
    tokens += static_cast<int64_t>(example.ids.size());
  }
  return static_cast<double>(std::count(seen.begin(), seen.end(), true)) / static_cast<double>(seen.size());
}

MemoryPlan plan_memory(const PlannedRun& run, const Examples& rows) {
  MemoryPlan plan;
  plan.program = run.program + kernel_code(run) + kThread * static_cast<uint64_t>(thread_count());
  plan.start = peak_resident_bytes();
  HostMemory::instance().trim();
  uint64_t unmapped = 0;
  const Parameter* table = run.model->embeddings().front()->weight.get();
  for (const Parameter* parameter : run.model->parameters()) {
    const bool mapped = in_mapped_file(parameter->value.raw());
    const bool in_part = mapped && parameter == table && table != run.model->head().weight.get();
    plan.weights +=
        in_part ? static_cast<uint64_t>(run.embedding_share * static_cast<double>(parameter->nbytes()))
                : parameter->nbytes();
    if (!mapped) unmapped += parameter->nbytes();
  }
  const uint64_t present = held_memory().current;
  plan.trainable = present - std::min(present, unmapped);
  rehearse_training(run, rows, false, plan);
  return plan;
}

MemoryPlan plan_device_memory(const PlannedRun& run, const Examples& rows) {
  MemoryPlan plan;
  plan.program = kDeviceRuntime;
  std::set<const Parameter*> base;
  for (const Parameter* parameter : run.model->parameters()) {
    base.insert(parameter);
    plan.weights += parameter->quantized || parameter->trainable
                        ? parameter->nbytes()
                        : static_cast<uint64_t>(parameter->numel()) * dtype_size(DType::kBF16);
  }
  for (const Parameter* parameter : run.trainables)
    if (!base.contains(parameter)) plan.trainable += parameter->nbytes();
  rehearse_training(run, rows, true, plan);
  return plan;
}

}  // namespace fettle
