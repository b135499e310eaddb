// Every differentiable op, on one page; forward and backward stand side by side in the .cpp files.
// T tokens lie in one packed row. Activations have the context's compute dtype.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "fettle/autograd/tape.h"

namespace fettle {

/// Where sequences begin in a packed row, and each token's position. Shared by all layers of a pass.
struct Packing {
  std::vector<int32_t> positions;   ///< [T]
  std::vector<int32_t> cu_seqlens;  ///< [S+1], of queries
  std::vector<int32_t> cu_keys;     ///< [S+1], of keys; equal to cu_seqlens without a cache
};
using PackingRef = std::shared_ptr<const Packing>;

/// cos and sin [max_position, rotary_dim/2], f32.
struct RotaryTable {
  Tensor cos, sin;
};

/// Low-rank update of one linear: y += scale * (dropout(x) Aᵀ) Bᵀ (Hu et al., arXiv 2106.09685). A [r, in], B
/// [out, r].
struct LoraTerm {
  Parameter* a = nullptr;
  Parameter* b = nullptr;
  float scale = 1.0f;
  float dropout = 0.0f;
  uint32_t site = 0;  ///< names the module in the dropout key
};

/// table[ids]: [T, hidden].
Var embedding(Context& context, std::shared_ptr<const std::vector<int32_t>> ids, Parameter& table);

/// y = x Wᵀ + bias + the low-rank terms. weight [out, in], or [in, out] when `conv1d` (GPT-2). x [T, in].
Var linear(Context& context, const Var& x, Parameter& weight, Parameter* bias, bool conv1d = false,
           const std::vector<LoraTerm>& lora = {});

Var add(Context& context, const Var& a, const Var& b);
/// Inverted dropout with a recomputed mask; the identity when not training or p = 0.
Var dropout(Context& context, const Var& x, float p, uint32_t site);

/// x / sqrt(mean(x²) + eps) * weight over the last dimension (Zhang & Sennrich, arXiv 1910.07467).
Var rms_norm(Context& context, const Var& x, Parameter& weight, float eps);
/// {x + delta, rms_norm(x + delta)} in one pass.
std::pair<Var, Var> add_rms_norm(Context& context, const Var& x, const Var& delta, Parameter& weight,
                                 float eps);
/// (x - mean) / sqrt(var + eps) * weight + bias over the last dimension (Ba et al., arXiv 1607.06450).
Var layer_norm(Context& context, const Var& x, Parameter& weight, Parameter* bias, float eps);

/// Rotary position embedding, half-split layout (Su et al., arXiv 2104.09864; transformers
/// apply_rotary_pos_emb). x [T, heads, head_dim].
Var rotary(Context& context, const Var& x, PackingRef packing, const RotaryTable& table);

struct AttentionOptions {
  float scale = 0;
  bool causal = true;
  int64_t window = 0;
};
/// softmax(q kᵀ * scale) v inside each sequence (Dao et al., arXiv 2205.14135, for the blocked form).
/// q [Tq, heads, head_dim], k, v [Tk, kv_heads, head_dim].
Var attention(Context& context, const Var& q, const Var& k, const Var& v, PackingRef packing,
              const AttentionOptions& options);

/// silu(gate) * up (Shazeer, arXiv 2002.05202).
Var swiglu(Context& context, const Var& gate, const Var& up);

// --- parts of parameter-efficient methods: matrices derived from parameters, and what they do to
// activations.

/// A parameter as a value of the graph; its gradient is added to the parameter's.
Var leaf(Context& context, Parameter& parameter);
/// alpha * a op(b): a [m, k], b [k, n], or [n, k] when `transpose_b`. The result has a's dtype; two f32
/// operands are multiplied in f32 whatever the context computes in.
Var matmul(Context& context, const Var& a, const Var& b, bool transpose_b = false, float alpha = 1.0f);
/// a * b element by element.
Var multiply(Context& context, const Var& a, const Var& b);
Var scale(Context& context, const Var& x, float alpha);
/// x[t, c] * columns[c] + bias[c]; columns has x.cols() elements of any shape.
Var scale_columns(Context& context, const Var& x, const Var& columns, Parameter* bias = nullptr);
/// x[t] + alpha * row for every t.
Var add_row(Context& context, const Var& x, Parameter& row, float alpha = 1.0f);
/// A permutation of columns; null leaves them as they are.
using ColumnOrder = std::shared_ptr<const std::vector<int32_t>>;
/// Blocks of columns times their own matrix (Backend::rotate_blocks); blocks [n or 1, size, size] f32.
Var rotate_blocks(Context& context, const Var& x, const Var& blocks, const ColumnOrder& order = nullptr);
/// [T, m, n] to [T, n, m].
Var transpose_last(Context& context, const Var& x);
Var activate(Context& context, Activation kind, const Var& x);
/// `prefix` [n, …] before the rows of every sequence: [T + S n, …] in the dtype of x. cu_seqlens [S+1] of x.
Var prepend_rows(Context& context, const Var& prefix, const Var& x, const std::vector<int32_t>& cu_seqlens);
/// Rows of x, each at most once.
Var select_rows(Context& context, const Var& x, const std::vector<int32_t>& rows);
/// For each row: the values, mixed by the softmax of query · key over the keys. All [rows, width].
Var fuse(Context& context, const Var& query, const std::vector<Var>& keys, const std::vector<Var>& values);
/// Columns [begin, end) of x [T, n].
Var select_columns(Context& context, const Var& x, int64_t begin, int64_t end);

/// Same storage seen with another shape.
Var reshape(const Var& x, Shape shape);

/// Rows of logits that linear_cross_entropy holds at a time: about 96 MiB of them, whatever the vocabulary.
int64_t loss_chunk_rows(int64_t vocab_size, DType dtype);

/// What became of each labelled row.
struct RowOutcome {
  std::vector<float> losses;  ///< -log p, as the loss is shaped
  std::vector<int32_t> best;  ///< the likeliest token
};

/// Sum over labelled positions of the cross entropy of head(hidden[t]) against labels[t], head and loss taken
/// chunk by chunk for labelled rows only: logits never exist whole. Gradients (of grad_scale * the sum) flow
/// at once into the head's parameters and are kept for `hidden`. labels: [T], negative where nothing is
/// learned. `outcome`, when given, is filled for the labelled rows in order.
double linear_cross_entropy(Context& context, const Var& hidden,
                            const std::function<Var(Context&, const Var&)>& head, int64_t vocab_size,
                            const std::vector<int32_t>& labels, float grad_scale, bool head_trainable,
                            const LossShape& shape = {}, RowOutcome* outcome = nullptr);

}  // namespace fettle
