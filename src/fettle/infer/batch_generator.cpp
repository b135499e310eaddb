#include "fettle/infer/batch_generator.h"

#include <algorithm>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// One request while it is being answered.
struct Slot {
  size_t request;
  KVCache cache;
  std::vector<int32_t> history;
  RandomStream random;
  Tensor logits;  // f32 [1, vocab] of the next token
};

class BatchRun {
 public:
  BatchRun(CausalLM& model, Backend& backend, DType compute, const std::vector<BatchRequest>& requests)
      : model_(model),
        context_{.backend = &backend, .compute = compute},
        requests_(requests),
        results_(requests.size()) {
    for (const BatchRequest& request : requests) routed_ = routed_ || request.routed;
  }

  std::vector<Generation> run(size_t rows, const std::function<void(size_t, const Generation&)>& finished) {
    size_t next = 0;
    while (next < requests_.size() || !slots_.empty()) {
      while (slots_.size() < rows && next < requests_.size()) begin(next++);
      for (size_t i = 0; i < slots_.size();) {
        if (choose(*slots_[i])) {
          ++i;
          continue;
        }
        if (finished) finished(slots_[i]->request, results_[slots_[i]->request]);
        slots_.erase(slots_.begin() + static_cast<ptrdiff_t>(i));
      }
      if (!slots_.empty()) advance();
    }
    return std::move(results_);
  }

 private:
  const BatchRequest& request(const Slot& slot) const { return requests_[slot.request]; }

  void begin(size_t index) {
    const BatchRequest& r = requests_[index];
    const ModelConfig& c = model_.config();
    auto slot = std::make_unique<Slot>(
        Slot{.request = index,
             .cache = KVCache(c.num_hidden_layers, c.num_key_value_heads, c.head_dim, context_.compute),
             .history = r.prompt,
             .random = RandomStream({r.options.sampling.seed, RandomUse::kSampling, 0, 0}),
             .logits = {}});
    for (size_t at = 0; at < r.prompt.size(); at += kPromptPiece) {
      size_t end = std::min(r.prompt.size(), at + kPromptPiece);
      std::vector<int32_t> piece(r.prompt.begin() + static_cast<ptrdiff_t>(at),
                                 r.prompt.begin() + static_cast<ptrdiff_t>(end));
      std::vector<Slot*> one = {slot.get()};
      Var hidden = hidden_states({piece}, one);
      if (end < r.prompt.size()) continue;
      int64_t tokens = hidden.value.rows();
      slot->logits = logits(Var(hidden.value.rows_view(tokens - 1, tokens)), one);
    }
    results_[index].prompt_tokens_computed = static_cast<int64_t>(r.prompt.size());
    slots_.push_back(std::move(slot));
  }

  // False when the answer is complete.
  bool choose(Slot& slot) {
    Generation& result = results_[slot.request];
    const GenerationOptions& options = request(slot).options;
    if (static_cast<int64_t>(result.ids.size()) >= options.max_new_tokens) return false;
    int32_t token = pick_token(slot.logits.span<float>(), slot.history, options.sampling, slot.random);
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), token) != options.stop_ids.end()) {
      result.reason = FinishReason::kStop;
      return false;
    }
    result.ids.push_back(token);
    slot.history.push_back(token);
    return static_cast<int64_t>(result.ids.size()) < options.max_new_tokens;
  }

  void advance() {
    std::vector<Slot*> order;
    for (auto& slot : slots_) order.push_back(slot.get());
    // Rows with the same adapters side by side, so that they share a product.
    std::stable_sort(order.begin(), order.end(), [&](const Slot* x, const Slot* y) {
      return request(*x).adapters < request(*y).adapters;
    });
    std::vector<std::vector<int32_t>> ids;
    for (const Slot* slot : order) ids.push_back({slot->history.back()});
    Tensor all = logits(hidden_states(ids, order), order);
    for (size_t i = 0; i < order.size(); ++i)
      order[i]->logits =
          all.rows_view(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1).clone(MemoryKind::kWorkspace);
  }

  Var hidden_states(const std::vector<std::vector<int32_t>>& ids, const std::vector<Slot*>& slots) {
    std::vector<KVCache*> caches;
    std::vector<AdapterRoute> routes;
    int64_t end = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      caches.push_back(&slots[i]->cache);
      end += static_cast<int64_t>(ids[i].size());
      add_route(routes, end, *slots[i]);
    }
    Context context = context_;
    context.routes = routes;
    return model_.hidden_states(context, make_input(ids, caches));
  }

  // One row of `hidden` for each slot.
  Tensor logits(const Var& hidden, const std::vector<Slot*>& slots) {
    std::vector<AdapterRoute> routes;
    for (size_t i = 0; i < slots.size(); ++i) add_route(routes, static_cast<int64_t>(i) + 1, *slots[i]);
    Context context = context_;
    context.routes = routes;
    return model_.logits(context, hidden).value.to(DType::kF32);
  }

  void add_route(std::vector<AdapterRoute>& routes, int64_t end, const Slot& slot) const {
    if (!routed_) return;
    if (!routes.empty() && routes.back().owners == request(slot).adapters)
      routes.back().end = end;
    else
      routes.push_back({end, request(slot).adapters});
  }

  // Prompts longer than this are read in pieces, so that activations of a long prompt stay bounded.
  static constexpr size_t kPromptPiece = 2048;

  CausalLM& model_;
  Context context_;
  const std::vector<BatchRequest>& requests_;
  std::vector<Generation> results_;
  std::vector<std::unique_ptr<Slot>> slots_;
  bool routed_ = false;
};

}  // namespace

std::vector<Generation> generate_batch(CausalLM& model, Backend& backend, DType compute,
                                       const std::vector<BatchRequest>& requests, int64_t rows,
                                       const std::function<void(size_t, const Generation&)>& finished) {
  for (const BatchRequest& request : requests) {
    if (request.prompt.empty()) fail_usage("a prompt has no tokens");
    check_token_ids(model, request.prompt);
  }
  return BatchRun(model, backend, compute, requests)
      .run(static_cast<size_t>(std::max<int64_t>(rows, 1)), finished);
}

}  // namespace fettle
