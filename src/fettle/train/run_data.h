// The data of a run: what is learned and what is evaluated.
#pragma once
#include <filesystem>
#include <memory>
#include <vector>

#include "fettle/base/config/config.h"
#include "fettle/data/dataset.h"
#include "fettle/train/evaluation.h"

namespace fettle {

struct RunData {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat;
  Dataset training;
  std::vector<EvaluationSet> evaluation;
};

/// Reads and encodes `dataset`, and eval_dataset or a share of it (val_size), with progress and notes for the
/// user. `output`: where streamed rows are kept.
RunData read_run_data(const Config& config, int64_t vocab_size, const std::filesystem::path& output);

/// Only the sets to be evaluated: eval_dataset, or `dataset` where there is none.
RunData read_evaluation_data(const Config& config, int64_t vocab_size, const std::filesystem::path& output);

/// What evaluations of a run in `compute` are computed in (bf16_full_eval, fp16_full_eval).
DType evaluation_dtype(const Config& config, DType compute);
/// How they are evaluated.
EvaluationOptions evaluation_options(const Config& config, const RunData& data,
                                     const std::filesystem::path& output);

}  // namespace fettle
