// The peak memory of a run, known before its first step: a rehearsal instead of formulas.
//
// The trainer itself runs one step on the largest pass, on a backend that computes nothing and with tensors
// that are address space only (MemoryRehearsal). What its allocations come to is what the run will take, for
// every method, model and option, since it is the same code; the rest is read off the process as it stands.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "fettle/data/examples.h"
#include "fettle/models/causal_lm.h"
#include "fettle/peft/adapter.h"
#include "fettle/train/evaluation.h"
#include "fettle/train/passes.h"
#include "fettle/train/trainer.h"

namespace fettle {

/// Parts that are in memory at once. Each is what it adds to those before it in the order of a step, so that
/// they add up to the peak.
struct MemoryPlan {
  uint64_t weights = 0;    ///< base weights as they are held, pages of mapped files included
  uint64_t trainable = 0;  ///< adapters and other tensors beside the base, as they lie in memory now
  uint64_t gradients = 0;  ///< f32, of everything trained
  uint64_t optimizer =
      0;  ///< its state and AdaLoRA's; paged state too, which stays in memory while there is room
  uint64_t activations = 0;  ///< what forward leaves behind for backward, and what backward adds
  uint64_t head = 0;         ///< logits of one chunk, and the gradient of the hidden states
  uint64_t workspace =
      0;  ///< tensors of the optimizer's update and of an evaluation beyond what is there by then
  uint64_t program =
      0;               ///< the process before the model: code, tokenizer, encoded rows; and compiled kernels
  uint64_t start = 0;  ///< most that the process has had so far: loading and initialising can be the peak
  /// What training takes.
  uint64_t needs() const {
    return weights + trainable + gradients + optimizer + activations + head + workspace + program;
  }
  /// What the process will have had at most.
  uint64_t total() const { return std::max(start, needs()); }
};

/// What a run does, as far as memory goes. The model is loaded, adapters are mounted, nothing else is made.
struct PlannedRun {
  CausalLM* model = nullptr;
  Adapter* adapter = nullptr;  ///< null: the base is trained
  std::vector<Parameter*> trainables;
  TrainArguments arguments;
  std::vector<EvaluationSet> evaluation;
  int64_t evaluation_batch = 1;
  bool lengths_vary = false;  ///< passes are of more than one length
  /// Of the pages of the embedding, the share that holds tokens of the data: a mapped table that is no head
  /// too is read no further.
  double embedding_share = 1;
  uint64_t program = 0;  ///< resident bytes before the model was opened
};

/// The share of `table`'s pages that hold rows of tokens of these examples, by their first some million
/// tokens.
double embedding_share(const Parameter& table, const Examples& examples);

/// The peak with `rows` as the largest pass.
MemoryPlan plan_memory(const PlannedRun& run, const Examples& rows);

/// The same on a GPU, which nothing here can measure: computing in 16 bits, weights in 16 bits (quantised
/// ones as they are, trained ones in f32), the same tensors, none of the CPU kernels' own, and kDeviceRuntime
/// for the program.
MemoryPlan plan_device_memory(const PlannedRun& run, const Examples& rows);
/// A CUDA context with the libraries of its products.
inline constexpr uint64_t kDeviceRuntime = uint64_t{1} << 30;

}  // namespace fettle
