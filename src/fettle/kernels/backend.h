// Every device operation of Fettle, on one page. kernels/cpu implements it for training and inference,
// kernels/reference in plain loops and f64 for the tests; a CUDA backend takes the same seat.
//
// Conventions
// - T tokens of a batch lie in one row without padding; cu_seqlens [S+1] i32 gives where each sequence
// starts.
// - "act" tensors are activations: f32, bf16 or f16 (f64 on the reference backend); all act tensors of a
// call agree.
// - Sums, norms, soft-max and losses are accumulated in f32 (f64 where said), in an order that depends on
// shapes only,
//   never on the number of threads.
// - Outputs are allocated by the caller. "may be undefined" arguments are skipped. Outputs never alias inputs
// unless said.
// - Parameter gradients are f32 and are ADDED to; activation gradients are WRITTEN.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fettle/base/random.h"
#include "fettle/kernels/quantized.h"
#include "fettle/tensor/tensor.h"

namespace fettle {

/// scale * a op(b) of a low rank: a [m, r] as it is stored, op(b): [r, n].
struct LowRankTerm {
  const Tensor* a = nullptr;
  const Tensor* b = nullptr;
  bool transpose_b = false;  ///< b is stored [n, r]
  float scale = 1.0f;
};

/// out[m,n] = alpha * op(a) op(b) + the terms + beta * out + bias, with op(a): [m,k], op(b): [k,n].
/// a, b, out: any of f32, bf16, f16 (f64 on the reference); a weight in another dtype than the activation is
/// converted panel by panel, never whole. Sums are f32 whatever `compute` is.
struct MatmulArgs {
  const Tensor* a = nullptr;
  const Tensor* b = nullptr;
  /// In the place of b: its panels are dequantised as they are needed.
  const QuantizedMatrix* quantized_b = nullptr;
  Tensor* out = nullptr;     ///< rows() = m, cols() = n
  bool transpose_a = false;  ///< a is stored [k, m]
  bool transpose_b = false;  ///< b is stored [n, k], as torch's Linear weights are
  float alpha = 1.0f;
  float beta = 0.0f;                        ///< 0: out is not read
  const Tensor* bias = nullptr;             ///< [n], added once; may be null
  std::span<const LowRankTerm> terms = {};  ///< dtypes as those of a and b
  DType compute =
      DType::kF32;  ///< type of the operands of the product; f16 ones are multiplied as f32 on the CPU
};

/// What a cross entropy becomes.
struct LossShape {
  /// (1 - e) * loss + e * (mean over the vocabulary of -log p): transformers' LabelSmoother (Szegedy et al.,
  /// arXiv 1512.00567).
  float label_smoothing = 0;
  /// loss * p, p the probability of the label without gradient: dynamic fine-tuning (Wu et al., arXiv
  /// 2508.05629) as in LLaMA-Factory's dft_loss_func.
  bool dft = false;
};

/// Which keys a query sees, and the shapes of an attention call.
/// q [Tq, heads, head_dim], k and v [Tk, kv_heads, head_dim]; heads is a multiple of kv_heads; query head h
/// reads key head h / (heads / kv_heads). Sequence s owns queries [cu_q[s], cu_q[s+1]) and keys [cu_k[s],
/// cu_k[s+1]); causal masks align the LAST query with the LAST key, so the same call serves training and
/// decoding with a cache.
struct AttentionSpec {
  std::span<const int32_t> cu_q;
  std::span<const int32_t> cu_k;
  float scale = 0;  ///< usually 1/sqrt(head_dim)
  bool causal = true;
  int64_t window = 0;  ///< >0: a query sees at most the last `window` keys, itself included (Mistral)
};

struct AdamWArgs {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;             ///< 1 for the first update
  float grad_scale = 1.0f;  ///< multiplies the gradient (clipping)
};

/// gelu: x Φ(x); gelu_tanh: its approximation by tanh (GPT-2's gelu_new); Hendrycks & Gimpel, arXiv
/// 1606.08415.
enum class Activation { kRelu, kTanh, kSigmoid, kSilu, kGelu, kGeluTanh };

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Device device() const = 0;
  /// "avx512_bf16, 2 threads" and the like.
  virtual std::string description() const = 0;
  /// Activation dtype that is fast here for bf16 training: kBF16, or kF32 where bf16 has no native product.
  virtual bool has_native_bf16() const = 0;

  // --- element-wise
  // -------------------------------------------------------------------------------------------
  virtual void fill(Tensor& out, double value) = 0;
  /// out = source, rounded to out's dtype (any floating pair).
  virtual void convert(const Tensor& source, Tensor& out) = 0;
  /// out = a + b (out may alias a or b).
  virtual void add(const Tensor& a, const Tensor& b, Tensor& out) = 0;
  /// y += alpha * x; dtypes may differ (f32 arithmetic).
  virtual void axpy(double alpha, const Tensor& x, Tensor& y) = 0;
  virtual void scale(Tensor& x, double alpha) = 0;
  /// out[i] = x[i] * keep_i / (1-p), keep_i from Philox block i/4, word i%4 of `key`: kept when uniform >= p.
  /// The same call is its own backward. out may alias x.
  virtual void dropout(const Tensor& x, float p, const RandomKey& key, Tensor& out) = 0;
  /// Sum of squares in f64, fixed order.
  virtual double sum_squares(const Tensor& x) = 0;
  /// True when no element is NaN or infinite.
  virtual bool all_finite(const Tensor& x) = 0;

  // --- products
  // -----------------------------------------------------------------------------------------------
  virtual void matmul(const MatmulArgs& args) = 0;
  /// out[n] += sum over rows of x[rows, n] (bias gradients), out f32.
  virtual void add_column_sums(const Tensor& x, Tensor& out) = 0;

  // --- normalisation over the last dimension; x may be [T, hidden] or [T, heads, head_dim]
  // ------------------------
  /// y = x * rstd * weight with rstd = 1/sqrt(mean(x^2) + eps); rstd [rows] f32. As LlamaRMSNorm: the
  /// normalised value is rounded to x's dtype before the multiplication. weight: any floating dtype.
  virtual void rms_norm(const Tensor& x, const Tensor& weight, float eps, Tensor& y, Tensor& rstd) = 0;
  /// sum = x + delta, y = rms_norm(sum): one pass over memory. sum may alias x.
  virtual void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, float eps,
                            Tensor& sum, Tensor& y, Tensor& rstd) = 0;
  /// dx written (may be undefined); dweight f32 added to (may be undefined). With `residual` defined (act,
  /// same shape) dx = residual + gradient of the norm: the residual branch is added on the way. dx may alias
  /// residual.
  virtual void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                                 const Tensor& residual, Tensor& dx, Tensor& dweight) = 0;
  /// y = (x - mean) * rstd * weight + bias; mean, rstd [rows] f32; bias may be undefined.
  virtual void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor& y,
                          Tensor& mean, Tensor& rstd) = 0;
  virtual void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                   const Tensor& mean, const Tensor& rstd, Tensor& dx, Tensor& dweight,
                                   Tensor& dbias) = 0;

  // --- rotary embedding
  // -----------------------------------------------------------------------------------------
  /// Half-split rotation of x [T, heads, head_dim] (may alias out) by the angles of positions[t]: cos, sin
  /// [max_position, rotary_dim/2] f32; dimensions beyond rotary_dim pass through. `inverse` rotates back: the
  /// backward.
  virtual void rotary(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos,
                      const Tensor& sin, bool inverse, Tensor& out) = 0;

  // --- attention (blocked soft-max; never T x T)
  // ------------------------------------------------------------------
  /// out [Tq, heads, head_dim]; lse [heads, Tq] f32 = log sum exp of each row's scaled scores (may be
  /// undefined).
  virtual void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                         Tensor& out, Tensor& lse) = 0;
  virtual void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                                  Tensor& dk, Tensor& dv) = 0;

  // --- gated MLP
  // --------------------------------------------------------------------------------------------------
  /// out = silu(gate) * up.
  virtual void swiglu(const Tensor& gate, const Tensor& up, Tensor& out) = 0;
  /// dgate may alias gate and dup may alias up.
  virtual void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, Tensor& dgate,
                               Tensor& dup) = 0;

  // --- parts of parameter-efficient methods
  // -----------------------------------------------------------------------
  /// out = a * b element by element (out may alias a or b).
  virtual void multiply(const Tensor& a, const Tensor& b, Tensor& out) = 0;
  /// out[t, c] = x[t, c] * scale[c] + bias[c]; scale and bias have cols() elements, bias may be undefined.
  /// out may alias x.
  virtual void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) = 0;
  /// out[c] += sum over t of a[t, c] * b[t, c]; out f32.
  virtual void add_column_products(const Tensor& a, const Tensor& b, Tensor& out) = 0;
  /// Every block of `size` columns of a row times its own matrix: out[t, n] = x[t, n] R[n], or R[n]ᵀ when
  /// `transpose`. blocks [cols / size, size, size], or [1, size, size] shared by all; f32. `order`, unless
  /// empty, is a permutation of the columns: the i-th column of the blocks is column order[i] of x and out.
  /// out may alias x.
  virtual void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose,
                             std::span<const int32_t> order, Tensor& out) = 0;
  /// dblocks[n] += sum over t of x[t, n]ᵀ dy[t, n], columns in `order`: the gradient of the blocks; f32.
  virtual void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order,
                                  Tensor& dblocks) = 0;
  /// out[t] = x[t]ᵀ for x [T, m, n], out [T, n, m] of the same dtype.
  virtual void transpose_last(const Tensor& x, Tensor& out) = 0;
  virtual void activate(Activation kind, const Tensor& x, Tensor& out) = 0;
  /// dx = dout * activation'(x); dx may alias dout.
  virtual void activate_backward(Activation kind, const Tensor& dout, const Tensor& x, Tensor& dx) = 0;

  // --- embedding
  // --------------------------------------------------------------------------------------------------
  /// out[t] = table[ids[t]]; table [vocab, hidden] any floating dtype, out act.
  virtual void embedding(std::span<const int32_t> ids, const Tensor& table, Tensor& out) = 0;
  /// dtable[ids[t]] += dout[t], in token order; dtable f32.
  virtual void embedding_backward(std::span<const int32_t> ids, const Tensor& dout, Tensor& dtable) = 0;
  /// out[i] = x[rows[i]]; x, out act.
  virtual void gather_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) = 0;
  /// out[rows[i]] = x[i]; the other rows of out are left alone. rows are distinct.
  virtual void scatter_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) = 0;

  // --- loss
  // -------------------------------------------------------------------------------------------------------
  /// For each row: losses[r] = logsumexp(logits[r]) - logits[r, labels[r]] (f32). When dlogits is defined it
  /// is written with grad_scale * (softmax - onehot) in its own dtype; it may alias logits when the dtypes
  /// agree. logits [rows, vocab] act; every label is valid. `shape` changes loss and gradient.
  /// `best`, [rows] or null, receives the first index of the largest logit.
  virtual void cross_entropy(const Tensor& logits, std::span<const int32_t> labels, float grad_scale,
                             Tensor& losses, Tensor& dlogits, const LossShape& shape = {},
                             int32_t* best = nullptr) = 0;

  // --- optimizer
  // ----------------------------------------------------------------------------------------------------
  /// torch.optim.AdamW (Loshchilov & Hutter, arXiv 1711.05101): decoupled decay, bias-corrected moments.
  /// parameter, m, v f32; gradient f32.
  virtual void adamw(Tensor& parameter, const Tensor& gradient, Tensor& m, Tensor& v,
                     const AdamWArgs& args) = 0;
};

/// The CPU backend, with kernels for the best instruction set that this CPU and $FETTLE_CPU (avx2, avx512,
/// avx512_bf16, amx) allow.
Backend& cpu_backend();
std::string cpu_backend_description();
/// Plain loops, also in f64: the yardstick of the tests.
Backend& reference_backend();

}  // namespace fettle
