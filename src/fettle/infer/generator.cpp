#include "fettle/infer/generator.h"

#include <algorithm>
#include <chrono>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// Prompts longer than this are read in pieces, so that activations of a long prompt stay bounded.
constexpr size_t kPromptPiece = 2048;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void check_token_ids(const CausalLM& model, const std::vector<int32_t>& ids) {
  for (int32_t id : ids)
    if (id < 0 || id >= model.config().vocab_size)
      fail_input(
          "token id {} does not fit the model, whose vocab_size is {}; is this the model's own tokenizer?",
          id, model.config().vocab_size);
}

Generator::Generator(CausalLM& model, Backend& backend, DType compute)
    : model_(model),
      backend_(backend),
      compute_(compute),
      cache_(model.config().num_hidden_layers, model.config().num_key_value_heads, model.config().head_dim,
             compute) {}

void Generator::forget() {
  cache_.truncate(0);
  cached_ids_.clear();
}

Tensor Generator::last_logits(const std::vector<int32_t>& ids) {
  Context context{.backend = &backend_, .compute = compute_};
  Var hidden = model_.hidden_states(context, make_input({ids}, {&cache_}));
  cached_ids_.insert(cached_ids_.end(), ids.begin(), ids.end());
  int64_t rows = hidden.value.rows();
  return model_.logits(context, Var(hidden.value.rows_view(rows - 1, rows))).value.to(DType::kF32);
}

Generation Generator::generate(const std::vector<int32_t>& prompt, const GenerationOptions& options,
                               const TokenCallback& callback) {
  if (prompt.empty()) fail_usage("the prompt has no tokens");
  check_token_ids(model_, prompt);
  auto start = std::chrono::steady_clock::now();
  Generation result;
  // The last prompt token is always computed: its logits choose the first new one.
  size_t shared = 0, limit = std::min(cached_ids_.size(), prompt.size() - 1);
  while (shared < limit && cached_ids_[shared] == prompt[shared]) ++shared;
  cache_.truncate(static_cast<int64_t>(shared));
  cached_ids_.resize(shared);
  result.prompt_tokens_computed = static_cast<int64_t>(prompt.size() - shared);
  Tensor logits;
  for (size_t begin = shared; begin < prompt.size(); begin += kPromptPiece) {
    size_t end = std::min(prompt.size(), begin + kPromptPiece);
    logits = last_logits(
        {prompt.begin() + static_cast<ptrdiff_t>(begin), prompt.begin() + static_cast<ptrdiff_t>(end)});
  }
  result.prompt_seconds = seconds_since(start);

  start = std::chrono::steady_clock::now();
  RandomStream random({options.sampling.seed, RandomUse::kSampling, 0, 0});
  std::vector<int32_t> history = prompt;
  while (static_cast<int64_t>(result.ids.size()) < options.max_new_tokens) {
    int32_t token = pick_token(logits.span<float>(), history, options.sampling, random);
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), token) != options.stop_ids.end()) {
      result.reason = FinishReason::kStop;
      break;
    }
    result.ids.push_back(token);
    history.push_back(token);
    if (callback && !callback(token)) {
      result.reason = FinishReason::kCancelled;
      break;
    }
    if (static_cast<int64_t>(result.ids.size()) < options.max_new_tokens) logits = last_logits({token});
  }
  result.decode_seconds = seconds_since(start);
  return result;
}

std::vector<float> token_log_probabilities(CausalLM& model, Backend& backend, DType compute,
                                           const std::vector<int32_t>& ids) {
  check_token_ids(model, ids);
  if (ids.size() < 2) return {};
  Context context{.backend = &backend, .compute = compute};
  Var hidden = model.hidden_states(context, make_input({ids}));
  std::vector<int32_t> labels(ids.begin() + 1, ids.end());
  labels.push_back(-1);
  RowOutcome outcome;
  auto head = [&](Context& c, const Var& h) { return model.logits(c, h); };
  linear_cross_entropy(context, hidden, head, model.config().vocab_size, labels, 1.0f, false, {}, &outcome);
  for (float& loss : outcome.losses) loss = -loss;
  return std::move(outcome.losses);
}

Tensor all_logits(CausalLM& model, Backend& backend, DType compute, const std::vector<int32_t>& ids) {
  check_token_ids(model, ids);
  if (ids.empty()) return Tensor::empty({0, model.config().vocab_size}, DType::kF32);
  Context context{.backend = &backend, .compute = compute};
  Var hidden = model.hidden_states(context, make_input({ids}));
  return model.logits(context, hidden).value.to(DType::kF32);
}

}  // namespace fettle
