#include "fettle/train/evaluation.h"

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/data/packing.h"
#include "fettle/infer/batch_generator.h"
#include "fettle/text/similarity.h"
#include "fettle/train/model_batch.h"

namespace fettle {

Evaluator::Evaluator(CausalLM& model, Backend& backend, DType compute, std::vector<EvaluationSet> sets,
                     EvaluationOptions options)
    : model_(model),
      backend_(backend),
      compute_(compute),
      sets_(std::move(sets)),
      options_(std::move(options)) {
  std::erase_if(sets_, [](const EvaluationSet& set) { return set.examples.empty(); });
  if (options_.predict_with_generate && !options_.tokenizer)
    fail_usage("predict_with_generate: the model has no tokenizer to write answers with");
}

std::vector<std::string> Evaluator::metric_names() const {
  std::vector<std::string> metrics = {"loss", "perplexity"}, names;
  if (options_.compute_accuracy) metrics.push_back("accuracy");
  if (options_.predict_with_generate)
    for (const char* metric : {"bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact_match"})
      metrics.push_back(metric);
  for (const EvaluationSet& set : sets_)
    for (const std::string& metric : metrics)
      names.push_back(set.name.empty() ? metric : set.name + "_" + metric);
  return names;
}

std::vector<EvalRecord> Evaluator::run(int64_t step, double epoch,
                                       const std::function<void(int64_t, int64_t)>& progress) const {
  std::vector<EvalRecord> records;
  int64_t done = 0, all = 0;
  for (const EvaluationSet& set : sets_) all += static_cast<int64_t>(set.examples.size());
  std::ofstream predictions;
  if (options_.predict_with_generate && !options_.predictions.empty()) {
    std::filesystem::create_directories(options_.predictions.parent_path());
    predictions.open(options_.predictions, std::ios::binary | std::ios::trunc);
    if (!predictions) fail_resources("{}: cannot be written", options_.predictions.string());
  }
  for (const EvaluationSet& set : sets_) {
    auto start = std::chrono::steady_clock::now();
    EvalRecord record = evaluate(set);
    record.name = set.name;
    record.step = step;
    record.epoch = epoch;
    if (options_.predict_with_generate)
      answer(set, record, predictions.is_open() ? &predictions : nullptr, [&] {
        if (progress) progress(++done, all);
      });
    record.runtime_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    records.push_back(std::move(record));
  }
  if (predictions.is_open() && !predictions.flush())
    fail_resources("{}: could not be written to the end", options_.predictions.string());
  return records;
}

// Trainer.evaluation_loop: the mean loss of each batch, repeated for its samples.
EvalRecord Evaluator::evaluate(const EvaluationSet& set) const {
  EvalRecord record;
  const int64_t all = static_cast<int64_t>(set.examples.size());
  double sum = 0, accuracy = 0;
  int64_t judged = 0;
  for (int64_t begin = 0; begin < all; begin += options_.batch_size) {
    std::vector<int64_t> rows(static_cast<size_t>(std::min(options_.batch_size, all - begin)));
    std::iota(rows.begin(), rows.end(), begin);
    PackedBatch batch = pack_for(model_, set.examples, rows);
    const int64_t labels = batch.label_tokens();
    if (labels == 0) continue;
    Context context{.backend = &backend_, .compute = compute_};
    Var hidden = model_.hidden_states(context, model_input(model_, batch));
    auto head = [this](Context& c, const Var& h) { return model_.logits(c, h); };
    RowOutcome outcome;
    double loss = linear_cross_entropy(context, hidden, head, model_.config().vocab_size, batch.labels, 1.0f,
                                       false, options_.loss, options_.compute_accuracy ? &outcome : nullptr);
    sum += loss / static_cast<double>(labels) * static_cast<double>(rows.size());
    record.samples += static_cast<int64_t>(rows.size());
    ++record.batches;
    if (!options_.compute_accuracy) continue;
    size_t at = 0;
    for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
      int64_t of_row = 0, right = 0;
      for (int32_t t = batch.cu_seqlens[s]; t < batch.cu_seqlens[s + 1]; ++t) {
        const int32_t label = batch.labels[static_cast<size_t>(t)];
        if (label < 0) continue;
        ++of_row;
        right += outcome.best[at++] == label;
      }
      if (of_row == 0) continue;
      accuracy += static_cast<double>(right) / static_cast<double>(of_row);
      ++judged;
    }
  }
  record.loss = record.samples > 0 ? sum / static_cast<double>(record.samples) : 0.0;
  record.metrics = {{"loss", record.loss}, {"perplexity", std::exp(record.loss)}};
  if (options_.compute_accuracy)
    record.metrics["accuracy"] = judged > 0 ? accuracy / static_cast<double>(judged) : 0.0;
  return record;
}

void Evaluator::answer(const EvaluationSet& set, EvalRecord& record, std::ostream* predictions,
                       const std::function<void()>& next) const {
  std::vector<BatchRequest> requests;
  std::vector<std::string> prompts, wanted;
  const Tokenizer& tokenizer = *options_.tokenizer;
  for (const Example example : set.examples) {
    std::vector<int32_t> prompt, answer;
    if (!split_answer(example, prompt, answer)) continue;
    prompts.push_back(tokenizer.decode(prompt, false));
    wanted.push_back(tokenizer.decode(answer, true));
    requests.push_back(
        {.prompt = std::move(prompt), .options = options_.generation, .adapters = {}, .routed = false});
  }
  if (requests.empty())
    fail_usage("predict_with_generate: no row of {} has a prompt and an answer",
               set.name.empty() ? "the data" : set.name);
  std::vector<Generation> answers = generate_batch(model_, backend_, compute_, requests, options_.batch_size,
                                                   [&](size_t, const Generation&) { next(); });
  Similarity total;
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string text = tokenizer.decode(answers[i].ids, true);
    total.add(text, wanted[i]);
    if (!predictions) continue;
    OrderedJson line = {{"prompt", prompts[i]}, {"predict", text}, {"label", wanted[i]}};
    *predictions << line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << '\n';
  }
  for (const auto& [metric, value] : total.means()) record.metrics[metric] = value;
}

bool split_answer(const Example& example, std::vector<int32_t>& prompt, std::vector<int32_t>& answer) {
  size_t end = example.labels.size();
  while (end > 0 && example.labels[end - 1] < 0) --end;
  size_t begin = end;
  while (begin > 0 && example.labels[begin - 1] >= 0) --begin;
  if (begin == 0 || begin == end) return false;
  prompt.assign(example.ids.begin(), example.ids.begin() + static_cast<ptrdiff_t>(begin));
  answer.assign(example.ids.begin() + static_cast<ptrdiff_t>(begin),
                example.ids.begin() + static_cast<ptrdiff_t>(end));
  return true;
}

}  // namespace fettle
