#include "fettle/peft/embedding_methods.h"

#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/lora.h"

namespace fettle {
namespace {

// Columns of A by token: [T, r] in the dtype of the activations.
Var pick_columns(Context& context, Parameter& a, const std::vector<int32_t>& ids) {
  int64_t rank = a.shape[0], vocab = a.shape[1], count = static_cast<int64_t>(ids.size());
  Tensor picked = Tensor::empty({count, rank}, DType::kF32), y = context.activation({count, rank});
  for (int64_t t = 0; t < count; ++t)
    for (int64_t k = 0; k < rank; ++k)
      picked.data<float>()[t * rank + k] = a.value.data<float>()[k * vocab + ids[static_cast<size_t>(t)]];
  context.backend->convert(picked, y);
  Var result(y, context.records(a.trainable));
  if (result.slot)
    context.tape->record([context, &a, ids, rank, vocab, count, out = result.slot] {
      if (!out->defined()) return;
      Tensor d = Tensor::empty({count, rank}, DType::kF32);
      context.backend->convert(out->take({count, rank}), d);
      float* gradient = a.gradient_buffer().data<float>();
      for (int64_t t = 0; t < count; ++t)
        for (int64_t k = 0; k < rank; ++k)
          gradient[k * vocab + ids[static_cast<size_t>(t)]] += d.data<float>()[t * rank + k];
    });
  return result;
}

using TokenIndex = std::unordered_map<int32_t, int64_t>;

class TokenRowsOnEmbedding final : public EmbeddingMethod {
 public:
  TokenRowsOnEmbedding(std::shared_ptr<Parameter> rows, TokenIndex index)
      : rows_(std::move(rows)), index_(std::move(index)) {}

  Var forward(Context& context, const Var& below, const std::vector<int32_t>& ids) override {
    // Where the trained rows go, and which.
    std::vector<int32_t> at, which;
    for (size_t t = 0; t < ids.size(); ++t)
      if (auto found = index_.find(ids[t]); found != index_.end()) {
        at.push_back(static_cast<int32_t>(t));
        which.push_back(static_cast<int32_t>(found->second));
      }
    if (at.empty()) return below;
    Tensor y = below.value.clone(),
           picked = Tensor::empty({static_cast<int64_t>(at.size()), y.cols()}, y.dtype());
    context.backend->embedding(which, rows_->value, picked);
    context.backend->scatter_rows(picked, at, y);
    Var result(y, context.records(below.requires_grad() || rows_->trainable));
    if (result.slot)
      context.tape->record([context, rows = rows_, slot = below.slot, shape = y.shape(), at, which,
                            picked_shape = picked.shape(), out = result.slot] {
        if (!out->defined()) return;
        Tensor dy = out->take(shape), d = Tensor::empty(picked_shape, dy.dtype());
        context.backend->gather_rows(dy, at, d);
        if (rows->trainable) context.backend->embedding_backward(which, d, rows->gradient_buffer());
        if (!slot) return;
        Tensor rest = dy.clone();
        context.backend->fill(d, 0.0);
        context.backend->scatter_rows(d, at, rest);
        slot->accumulate(*context.backend, rest);
      });
    return result;
  }
  std::vector<Parameter*> parameters() override { return {rows_.get()}; }
  void merge(Tensor& weight) const override {
    int64_t width = weight.dim(1);
    for (const auto& [id, row] : index_)
      std::copy_n(rows_->value.data<float>() + row * width, width, weight.data<float>() + id * width);
  }

 private:
  std::shared_ptr<Parameter> rows_;
  TokenIndex index_;
};

// Logits of the trained tokens on a head that shares the embedding's table.
class TokenRowsOnHead final : public LinearMethod {
 public:
  TokenRowsOnHead(std::shared_ptr<Parameter> rows, std::vector<int64_t> ids)
      : rows_(std::move(rows)), ids_(std::move(ids)) {}

  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    Var y = below(context, x), own = matmul(context, x, leaf(context, *rows_), true);
    Tensor logits = y.value;  // nothing else holds it
    copy_columns(own.value, logits, true);
    Var result(logits, context.records(y.requires_grad() || own.requires_grad()));
    if (result.slot)
      context.tape->record([this, context, y_slot = y.slot, own_slot = own.slot, shape = logits.shape(),
                            own_shape = own.value.shape(), out = result.slot] {
        if (!out->defined()) return;
        Tensor dy = out->take(shape), d = Tensor::empty(own_shape, dy.dtype()),
               zero = Tensor::zeros(own_shape, dy.dtype());
        copy_columns(d, dy, false);
        copy_columns(zero, dy, true);
        if (own_slot) own_slot->accumulate(*context.backend, d);
        if (y_slot) y_slot->accumulate(*context.backend, dy);
      });
    return result;
  }
  std::vector<Parameter*> parameters() override { return {rows_.get()}; }
  void merge(Tensor&, Tensor&) const override {}
  bool follows_embedding() const override { return true; }

 private:
  // Between the columns of `narrow` [T, n] and those of `wide` [T, vocab] that ids_ name.
  void copy_columns(const Tensor& narrow_in, const Tensor& wide_in, bool to_wide) const {
    Tensor narrow = narrow_in, wide = wide_in;
    size_t size = dtype_size(narrow.dtype());
    auto* n = static_cast<std::byte*>(narrow.raw());
    auto* w = static_cast<std::byte*>(wide.raw());
    int64_t count = static_cast<int64_t>(ids_.size());
    for (int64_t t = 0; t < narrow.dim(0); ++t)
      for (int64_t j = 0; j < count; ++j) {
        std::byte* a = n + static_cast<size_t>(t * count + j) * size;
        std::byte* b = w + static_cast<size_t>(t * wide.cols() + ids_[static_cast<size_t>(j)]) * size;
        to_wide ? std::memcpy(b, a, size) : std::memcpy(a, b, size);
      }
  }

  std::shared_ptr<Parameter> rows_;
  std::vector<int64_t> ids_;
};

class TrainableTokensAdapter final : public Adapter {
 public:
  TrainableTokensAdapter(CausalLM& model, AdapterConfig config)
      : Adapter(model, std::move(config)), indices_(read_token_indices(config_, "token_indices")) {
    if (indices_.empty()) fail_input("{}: token_indices is empty; name the tokens to train", config_.origin);
  }
  std::string description() const override { return fmt::format("{} trained tokens", indices_.size()); }

 protected:
  void mount() override {
    const Embedding& embedding = *model_.embeddings().front();
    const TargetSpec& targets = config_.targets;
    if ((!targets.modules.empty() || !targets.pattern.empty()) &&
        !targets_module(targets, embedding.path, false))
      fail_usage("{}: target_modules [{}]: rows can be trained of {} only", config_.origin,
                 fmt::join(targets.modules, ", "), embedding.path);
    tokens_.emplace(model_, indices_, embedding.path + ".trainable_tokens_delta", config_.origin);
  }
  void initialise(uint64_t) override {}  // the rows of the base
  std::vector<Parameter*> own_parameters() const override { return {tokens_->rows()}; }
  void activate(bool active) override { tokens_->activate(active); }
  bool has_modules_to_save() const override { return false; }
  // A head that shares the table has the same rows under its own name.
  void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) override {
    if (tied()) tensors.erase(head_key());
    Adapter::take_tensors(tensors, folder);
  }
  std::map<std::string, Tensor> saved_tensors() const override {
    std::map<std::string, Tensor> tensors = Adapter::saved_tensors();
    if (tied()) tensors[std::string(kAdapterKeyPrefix) + head_key()] = tokens_->rows()->value;
    return tensors;
  }
  Json saved_keys() const override {
    return {{"token_indices", indices_},
            {"target_modules", {input_embedding_name(model_)}},
            {"init_weights", true}};
  }

 private:
  bool tied() const { return model_.head().weight == model_.embeddings().front()->weight; }
  std::string head_key() const { return model_.head().path + ".trainable_tokens_delta"; }

  std::vector<int64_t> indices_;
  std::optional<TokenRows> tokens_;
};

}  // namespace

LoraEmbeddingMethod::LoraEmbeddingMethod(const Embedding& embedding, int64_t rank, double scale)
    : a(adapter_parameter(embedding.path + ".lora_embedding_A", {rank, embedding.weight->shape[0]})),
      b(adapter_parameter(embedding.path + ".lora_embedding_B", {embedding.weight->shape[1], rank})),
      scale_(static_cast<float>(scale)) {}

Var LoraEmbeddingMethod::forward(Context& context, const Var& rows, const std::vector<int32_t>& ids) {
  return add(context, rows, matmul(context, pick_columns(context, *a, ids), leaf(context, *b), true, scale_));
}

void LoraEmbeddingMethod::merge(Tensor& weight) const {
  cpu_backend().matmul({.a = &a->value,
                        .b = &b->value,
                        .out = &weight,
                        .transpose_a = true,
                        .transpose_b = true,
                        .alpha = scale_,
                        .beta = 1.0f});
}

TokenRows::TokenRows(CausalLM& model, const std::vector<int64_t>& indices, const std::string& key,
                     const std::string& origin)
    : model_(model) {
  Embedding& embedding = *model.embeddings().front();
  int64_t vocab = embedding.weight->shape[0], width = embedding.weight->shape[1];
  rows_ = adapter_parameter(key, {static_cast<int64_t>(indices.size()), width});
  TokenIndex index;
  for (size_t i = 0; i < indices.size(); ++i) {
    int64_t id = indices[i];
    if (id < 0 || id >= vocab)
      fail_input("{}: token index {} is outside the vocabulary of {}", origin, id, vocab);
    if (!index.emplace(static_cast<int32_t>(id), static_cast<int64_t>(i)).second)
      fail_input("{}: token index {} stands there twice", origin, id);
    Tensor row = f32_copy(embedding.weight->value.rows_view(id, id + 1));
    std::copy_n(row.data<float>(), width, rows_->value.data<float>() + static_cast<int64_t>(i) * width);
  }
  on_embedding_ = std::make_shared<TokenRowsOnEmbedding>(rows_, index);
  embedding.methods.push_back(on_embedding_);
  if (model.head().weight == embedding.weight) {
    on_head_ = std::make_shared<TokenRowsOnHead>(rows_, indices);
    model.head().methods.push_back(on_head_);
  }
}

TokenRows::~TokenRows() {
  std::erase(model_.embeddings().front()->methods, on_embedding_);
  if (on_head_) std::erase(model_.head().methods, on_head_);
}

void TokenRows::activate(bool active) {
  on_embedding_->active = active;
  if (on_head_) on_head_->active = active;
}

std::vector<int64_t> read_token_indices(const AdapterConfig& config, const char* key) {
  if (!config.is_set(key)) return {};
  Json list = config.sorted()[key];
  if (list.is_object()) {
    const std::string name = list.size() == 1 ? list.begin().key() : "";
    if (!name.ends_with("embed_tokens") && !name.ends_with("wte"))
      fail_input("{}: {} names {}; rows can be trained of the input embedding only", config.origin, key,
                 printable(list.dump(), 60));
    list = list.begin().value();
  }
  std::vector<int64_t> ids;
  if (!list.is_array() || list.size() > 1'000'000)
    fail_input("{}: {} must be a list of token ids", config.origin, key);
  for (const Json& item : list) {
    if (!item.is_number_integer())
      fail_input("{}: {} holds {}, expected token ids", config.origin, key, printable(item.dump(), 40));
    ids.push_back(item.get<int64_t>());
  }
  return ids;
}

std::string input_embedding_name(CausalLM& model) {
  const std::string& path = model.embeddings().front()->path;
  return path.substr(path.rfind('.') + 1);
}

std::unique_ptr<Adapter> make_trainable_tokens(CausalLM& model, AdapterConfig config) {
  return std::make_unique<TrainableTokensAdapter>(model, std::move(config));
}

}  // namespace fettle
