// Evaluation: what a model loses on rows that it does not learn, and how its answers compare with theirs.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fettle/data/examples.h"
#include "fettle/infer/generator.h"
#include "fettle/models/causal_lm.h"
#include "fettle/text/tokenizer.h"
#include "fettle/train/callback.h"

namespace fettle {

/// Rows of one data set; `name` is part of its metrics' names, empty when there is one set only.
struct EvaluationSet {
  std::string name;
  Examples examples;
};

struct EvaluationOptions {
  int64_t batch_size = 8;
  LossShape loss;  ///< as in training
  bool compute_accuracy =
      false;  ///< accuracy: mean over rows of the share of labels that are the likeliest token
  /// Also answers each row and compares the text with its own: bleu-4, rouge-1, rouge-2, rouge-l,
  /// exact_match, as LLaMA-Factory's ComputeSimilarity, in per cent.
  bool predict_with_generate = false;
  GenerationOptions generation;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::filesystem::path predictions;  ///< generated_predictions.jsonl goes there; empty: nowhere
};

class Evaluator {
 public:
  Evaluator(CausalLM& model, Backend& backend, DType compute, std::vector<EvaluationSet> sets,
            EvaluationOptions options);
  /// A record for each set, with Trainer's meaning of each figure. `progress` sees rows done and in all.
  std::vector<EvalRecord> run(int64_t step, double epoch,
                              const std::function<void(int64_t, int64_t)>& progress = {}) const;
  bool empty() const { return sets_.empty(); }
  /// What metric_for_best_model may name.
  std::vector<std::string> metric_names() const;

 private:
  EvalRecord evaluate(const EvaluationSet& set) const;
  void answer(const EvaluationSet& set, EvalRecord& record, std::ostream* predictions,
              const std::function<void()>& next) const;
  CausalLM& model_;
  Backend& backend_;
  DType compute_;
  std::vector<EvaluationSet> sets_;
  EvaluationOptions options_;
};

/// A row as a prompt and the answer to it: its last run of labels is the answer, what stands before is the
/// prompt. False when the row has no such run or begins with it.
bool split_answer(const Example& example, std::vector<int32_t>& prompt, std::vector<int32_t>& answer);

}  // namespace fettle
