// The yardstick: every op as plain loops in f64, whatever the dtype of its tensors; results are rounded once,
// on writing. Slow and readable on purpose.
#include <cmath>
#include <limits>

#include "fettle/base/error.h"
#include "fettle/kernels/backend.h"

namespace fettle {
namespace {

double load(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::kF32:
      return t.data<float>()[i];
    case DType::kF64:
      return t.data<double>()[i];
    case DType::kBF16:
      return static_cast<float>(t.data<bf16>()[i]);
    case DType::kF16:
      return static_cast<float>(t.data<f16>()[i]);
    default:
      FETTLE_CHECK(false, "floating tensor expected, found {}", dtype_name(t.dtype()));
  }
}

double rounded(double value, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<float>(value);
    case DType::kBF16:
      return static_cast<float>(bf16(static_cast<float>(value)));
    case DType::kF16:
      return static_cast<float>(f16(static_cast<float>(value)));
    default:
      return value;
  }
}

void store(Tensor& t, int64_t i, double value) {
  switch (t.dtype()) {
    case DType::kF32:
      t.data<float>()[i] = static_cast<float>(value);
      return;
    case DType::kF64:
      t.data<double>()[i] = value;
      return;
    case DType::kBF16:
      t.data<bf16>()[i] = bf16(static_cast<float>(value));
      return;
    case DType::kF16:
      t.data<f16>()[i] = f16(static_cast<float>(value));
      return;
    default:
      FETTLE_CHECK(false, "floating tensor expected, found {}", dtype_name(t.dtype()));
  }
}

double normal_cdf(double x) {
  return 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
}
double activated(Activation kind, double x) {
  double sigmoid = 1.0 / (1.0 + std::exp(-x));
  double inner = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
  switch (kind) {
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSigmoid:
      return sigmoid;
    case Activation::kSilu:
      return x * sigmoid;
    case Activation::kGelu:
      return x * normal_cdf(x);
    case Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(inner));
  }
  return x;
}
double derivative(Activation kind, double x) {
  double sigmoid = 1.0 / (1.0 + std::exp(-x));
  double inner = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x), tanh = std::tanh(inner);
  switch (kind) {
    case Activation::kRelu:
      return x > 0 ? 1.0 : 0.0;
    case Activation::kTanh:
      return 1.0 - std::tanh(x) * std::tanh(x);
    case Activation::kSigmoid:
      return sigmoid * (1.0 - sigmoid);
    case Activation::kSilu:
      return sigmoid * (1.0 + x * (1.0 - sigmoid));
    case Activation::kGelu:
      return normal_cdf(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI);
    case Activation::kGeluTanh:
      return 0.5 * (1.0 + tanh) +
             0.5 * x * (1.0 - tanh * tanh) * std::sqrt(2.0 / M_PI) * (1.0 + 3.0 * 0.044715 * x * x);
  }
  return 1.0;
}

// The i-th column in an order, which may be the natural one.
int64_t column(std::span<const int32_t> order, int64_t i) {
  return order.empty() ? i : order[static_cast<size_t>(i)];
}
void accumulate(Tensor& t, int64_t i, double value) {
  store(t, i, load(t, i) + value);
}

// Rows of keys that query `i` of sequence `s` sees: [first, last).
struct KeyRange {
  int64_t first, last;
};
KeyRange visible_keys(const AttentionSpec& spec, size_t s, int64_t i) {
  int64_t queries = spec.cu_q[s + 1] - spec.cu_q[s], keys = spec.cu_k[s + 1] - spec.cu_k[s];
  int64_t diagonal = keys - queries + i;  // the key that stands where the query stands
  int64_t last = spec.causal ? diagonal + 1 : keys;
  int64_t first = spec.window > 0 ? std::max<int64_t>(0, diagonal - spec.window + 1) : 0;
  return {first, std::max(first, last)};
}

class ReferenceBackend final : public Backend {
 public:
  Device device() const override { return {}; }
  std::string description() const override { return "reference, plain loops in f64"; }
  bool has_native_bf16() const override { return true; }

  void fill(Tensor& out, double value) override {
    for (int64_t i = 0; i < out.numel(); ++i) store(out, i, value);
  }
  void convert(const Tensor& source, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i) store(out, i, load(source, i));
  }
  void add(const Tensor& a, const Tensor& b, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i) store(out, i, load(a, i) + load(b, i));
  }
  void axpy(double alpha, const Tensor& x, Tensor& y) override {
    for (int64_t i = 0; i < y.numel(); ++i) accumulate(y, i, alpha * load(x, i));
  }
  void scale(Tensor& x, double alpha) override {
    for (int64_t i = 0; i < x.numel(); ++i) store(x, i, alpha * load(x, i));
  }
  void dropout(const Tensor& x, float p, const RandomKey& key, Tensor& out) override {
    double keep_scale = 1.0 / (1.0 - p);
    for (int64_t i = 0; i < x.numel(); ++i) {
      float u = uniform_from_bits(key.block(static_cast<uint64_t>(i / 4))[static_cast<size_t>(i % 4)]);
      store(out, i, u >= p ? load(x, i) * keep_scale : 0.0);
    }
  }
  double sum_squares(const Tensor& x) override {
    double sum = 0;
    for (int64_t i = 0; i < x.numel(); ++i) sum += load(x, i) * load(x, i);
    return sum;
  }
  bool all_finite(const Tensor& x) override {
    for (int64_t i = 0; i < x.numel(); ++i)
      if (!std::isfinite(load(x, i))) return false;
    return true;
  }

  void matmul(const MatmulArgs& args) override {
    const Tensor& a = *args.a;
    const Tensor b = args.quantized_b ? dequantize(*args.quantized_b) : *args.b;
    Tensor& out = *args.out;
    int64_t m = out.rows(), n = out.cols(), k = args.transpose_a ? a.rows() : a.cols();
    FETTLE_CHECK((args.transpose_a ? a.cols() : a.rows()) == m &&
                     (args.transpose_b ? b.rows() : b.cols()) == n &&
                     (args.transpose_b ? b.cols() : b.rows()) == k,
                 "matmul of {} and {} into {}", shape_string(a.shape()), shape_string(b.shape()),
                 shape_string(out.shape()));
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += rounded(load(a, args.transpose_a ? l * m + i : i * k + l), args.compute) *
                 rounded(load(b, args.transpose_b ? j * k + l : l * n + j), args.compute);
        sum *= args.alpha;
        for (const LowRankTerm& term : args.terms) {
          const int64_t rank = term.a->cols();
          double part = 0;
          for (int64_t l = 0; l < rank; ++l)
            part += rounded(load(*term.a, i * rank + l), args.compute) *
                    rounded(load(*term.b, term.transpose_b ? j * rank + l : l * n + j), args.compute);
          sum += term.scale * part;
        }
        if (args.beta != 0) sum += args.beta * load(out, i * n + j);
        if (args.bias) sum += load(*args.bias, j);
        store(out, i * n + j, sum);
      }
  }
  void add_column_sums(const Tensor& x, Tensor& out) override {
    for (int64_t j = 0; j < x.cols(); ++j) {
      double sum = 0;
      for (int64_t i = 0; i < x.rows(); ++i) sum += load(x, i * x.cols() + j);
      accumulate(out, j, sum);
    }
  }

  void rms_norm(const Tensor& x, const Tensor& weight, float eps, Tensor& y, Tensor& rstd) override {
    int64_t width = x.cols();
    for (int64_t r = 0; r < x.rows(); ++r) {
      double sum = 0;
      for (int64_t j = 0; j < width; ++j) sum += load(x, r * width + j) * load(x, r * width + j);
      double inverse = 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
      store(rstd, r, inverse);
      for (int64_t j = 0; j < width; ++j)
        store(y, r * width + j, rounded(load(x, r * width + j) * inverse, x.dtype()) * load(weight, j));
    }
  }
  void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, float eps, Tensor& sum,
                    Tensor& y, Tensor& rstd) override {
    add(x, delta, sum);
    rms_norm(sum, weight, eps, y, rstd);
  }
  void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dweight) override {
    // y = x r w, r = (mean x² + eps)^-1/2:  dx = r (g - x r² mean(g x)) with g = dy w;  dw = Σ dy x r.
    int64_t width = x.cols();
    for (int64_t row = 0; row < x.rows(); ++row) {
      double r = load(rstd, row), dot = 0;
      int64_t base = row * width;
      for (int64_t j = 0; j < width; ++j) dot += load(dy, base + j) * load(weight, j) * load(x, base + j);
      for (int64_t j = 0; j < width; ++j) {
        double g = load(dy, base + j);
        if (dweight.defined()) accumulate(dweight, j, g * load(x, base + j) * r);
        if (!dx.defined()) continue;
        double d = r * (g * load(weight, j) - load(x, base + j) * r * r * dot / static_cast<double>(width));
        store(dx, base + j, d + (residual.defined() ? load(residual, base + j) : 0.0));
      }
    }
  }
  void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor& y,
                  Tensor& mean, Tensor& rstd) override {
    int64_t width = x.cols();
    for (int64_t r = 0; r < x.rows(); ++r) {
      double sum = 0, squares = 0;
      for (int64_t j = 0; j < width; ++j) sum += load(x, r * width + j);
      double average = sum / static_cast<double>(width);
      for (int64_t j = 0; j < width; ++j) squares += std::pow(load(x, r * width + j) - average, 2);
      double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
      store(mean, r, average);
      store(rstd, r, inverse);
      for (int64_t j = 0; j < width; ++j)
        store(y, r * width + j,
              (load(x, r * width + j) - average) * inverse * load(weight, j) +
                  (bias.defined() ? load(bias, j) : 0.0));
    }
  }
  void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, Tensor& dx, Tensor& dweight, Tensor& dbias) override {
    // With h = (x - mean) r and g = dy w:  dx = r (g - mean(g) - h mean(g h)).
    int64_t width = x.cols();
    for (int64_t row = 0; row < x.rows(); ++row) {
      double r = load(rstd, row), m = load(mean, row), sum = 0, dot = 0;
      int64_t base = row * width;
      auto hat = [&](int64_t j) { return (load(x, base + j) - m) * r; };
      for (int64_t j = 0; j < width; ++j) {
        double g = load(dy, base + j) * load(weight, j);
        sum += g;
        dot += g * hat(j);
      }
      sum /= static_cast<double>(width);
      dot /= static_cast<double>(width);
      for (int64_t j = 0; j < width; ++j) {
        double g = load(dy, base + j);
        if (dweight.defined()) accumulate(dweight, j, g * hat(j));
        if (dbias.defined()) accumulate(dbias, j, g);
        if (dx.defined()) store(dx, base + j, r * (g * load(weight, j) - sum - hat(j) * dot));
      }
    }
  }

  void rotary(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
              bool inverse, Tensor& out) override {
    int64_t heads = x.dim(1), dim = x.dim(2), half = cos.cols();
    for (int64_t t = 0; t < x.dim(0); ++t)
      for (int64_t h = 0; h < heads; ++h) {
        int64_t base = (t * heads + h) * dim, row = positions[static_cast<size_t>(t)] * half;
        for (int64_t i = 0; i < half; ++i) {
          double c = load(cos, row + i), s = load(sin, row + i) * (inverse ? -1.0 : 1.0);
          double first = load(x, base + i), second = load(x, base + half + i);
          store(out, base + i, first * c - second * s);
          store(out, base + half + i, second * c + first * s);
        }
        for (int64_t i = 2 * half; i < dim; ++i) store(out, base + i, load(x, base + i));
      }
  }

  void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec, Tensor& out,
                 Tensor& lse) override {
    int64_t heads = q.dim(1), kv_heads = k.dim(1), dim = q.dim(2), total = q.dim(0);
    for_each_query(spec, heads, kv_heads, [&](size_t s, int64_t i, int64_t h, int64_t g) {
      int64_t t = spec.cu_q[s] + i;
      KeyRange range = visible_keys(spec, s, i);
      std::vector<double> p = scores(q, k, spec, s, t, h, g, range);
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (double value : p) top = std::max(top, value);
      for (double& value : p) sum += value = std::exp(value - top);
      for (int64_t d = 0; d < dim; ++d) {
        double value = 0;
        for (size_t j = 0; j < p.size(); ++j)
          value += p[j] / sum *
                   load(v, ((spec.cu_k[s] + range.first + static_cast<int64_t>(j)) * kv_heads + g) * dim + d);
        store(out, (t * heads + h) * dim + d, value);
      }
      if (lse.defined()) store(lse, h * total + t, top + std::log(sum));
    });
  }
  void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                          Tensor& dk, Tensor& dv) override {
    // p = exp(s - lse);  dv += pᵀ dout;  ds = p (dout vᵀ - Σ dout out);  dq = ds k scale;  dk += dsᵀ q scale.
    int64_t heads = q.dim(1), kv_heads = k.dim(1), dim = q.dim(2), total = q.dim(0);
    std::vector<double> dkeys(static_cast<size_t>(k.numel())), dvalues(static_cast<size_t>(v.numel()));
    for_each_query(spec, heads, kv_heads, [&](size_t s, int64_t i, int64_t h, int64_t g) {
      int64_t t = spec.cu_q[s] + i, row = (t * heads + h) * dim;
      KeyRange range = visible_keys(spec, s, i);
      std::vector<double> p = scores(q, k, spec, s, t, h, g, range), dquery(static_cast<size_t>(dim));
      double delta = 0;
      for (int64_t d = 0; d < dim; ++d) delta += load(dout, row + d) * load(out, row + d);
      for (size_t j = 0; j < p.size(); ++j) {
        int64_t key = ((spec.cu_k[s] + range.first + static_cast<int64_t>(j)) * kv_heads + g) * dim;
        double probability = std::exp(p[j] - load(lse, h * total + t)), dp = 0;
        for (int64_t d = 0; d < dim; ++d) dp += load(dout, row + d) * load(v, key + d);
        double ds = probability * (dp - delta) * spec.scale;
        for (int64_t d = 0; d < dim; ++d) {
          dquery[static_cast<size_t>(d)] += ds * load(k, key + d);
          dkeys[static_cast<size_t>(key + d)] += ds * load(q, row + d);
          dvalues[static_cast<size_t>(key + d)] += probability * load(dout, row + d);
        }
      }
      for (int64_t d = 0; d < dim; ++d) store(dq, row + d, dquery[static_cast<size_t>(d)]);
    });
    for (int64_t i = 0; i < k.numel(); ++i) store(dk, i, dkeys[static_cast<size_t>(i)]);
    for (int64_t i = 0; i < v.numel(); ++i) store(dv, i, dvalues[static_cast<size_t>(i)]);
  }

  void swiglu(const Tensor& gate, const Tensor& up, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i) {
      double g = load(gate, i);
      store(out, i, g / (1.0 + std::exp(-g)) * load(up, i));
    }
  }
  void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, Tensor& dgate,
                       Tensor& dup) override {
    for (int64_t i = 0; i < dout.numel(); ++i) {
      double g = load(gate, i), u = load(up, i), d = load(dout, i), sigmoid = 1.0 / (1.0 + std::exp(-g));
      store(dgate, i, d * u * sigmoid * (1.0 + g * (1.0 - sigmoid)));
      store(dup, i, d * g * sigmoid);
    }
  }

  void multiply(const Tensor& a, const Tensor& b, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i) store(out, i, load(a, i) * load(b, i));
  }
  void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i)
      store(out, i,
            load(x, i) * load(scale, i % x.cols()) + (bias.defined() ? load(bias, i % x.cols()) : 0.0));
  }
  void transpose_last(const Tensor& x, Tensor& out) override {
    int64_t m = x.dim(1), n = x.dim(2);
    for (int64_t i = 0; i < x.numel(); ++i)
      store(out, i / (m * n) * m * n + i % n * m + i / n % m, load(x, i));
  }
  void add_column_products(const Tensor& a, const Tensor& b, Tensor& out) override {
    for (int64_t j = 0; j < a.cols(); ++j) {
      double sum = 0;
      for (int64_t i = 0; i < a.rows(); ++i) sum += load(a, i * a.cols() + j) * load(b, i * a.cols() + j);
      accumulate(out, j, sum);
    }
  }
  void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                     Tensor& out) override {
    int64_t size = blocks.dim(1), width = x.cols();
    std::vector<double> row(static_cast<size_t>(width));
    for (int64_t t = 0; t < x.rows(); ++t) {
      for (int64_t c = 0; c < width; ++c) {
        int64_t n = c / size, j = c % size, matrix = blocks.dim(0) == 1 ? 0 : n;
        double sum = 0;
        for (int64_t i = 0; i < size; ++i)
          sum += load(x, t * width + column(order, n * size + i)) *
                 load(blocks, (matrix * size + (transpose ? j : i)) * size + (transpose ? i : j));
        row[static_cast<size_t>(column(order, c))] = sum;
      }
      for (int64_t c = 0; c < width; ++c) store(out, t * width + c, row[static_cast<size_t>(c)]);
    }
  }
  void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order,
                          Tensor& dblocks) override {
    int64_t size = dblocks.dim(1), width = x.cols();
    for (int64_t n = 0; n < width / size; ++n)
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < size; ++j) {
          double sum = 0;
          for (int64_t t = 0; t < x.rows(); ++t)
            sum += load(x, t * width + column(order, n * size + i)) *
                   load(dy, t * width + column(order, n * size + j));
          accumulate(dblocks, ((dblocks.dim(0) == 1 ? 0 : n) * size + i) * size + j, sum);
        }
  }
  void activate(Activation kind, const Tensor& x, Tensor& out) override {
    for (int64_t i = 0; i < out.numel(); ++i) store(out, i, activated(kind, load(x, i)));
  }
  void activate_backward(Activation kind, const Tensor& dout, const Tensor& x, Tensor& dx) override {
    for (int64_t i = 0; i < dx.numel(); ++i) store(dx, i, load(dout, i) * derivative(kind, load(x, i)));
  }

  void embedding(std::span<const int32_t> ids, const Tensor& table, Tensor& out) override {
    int64_t width = table.cols();
    for (size_t t = 0; t < ids.size(); ++t)
      for (int64_t j = 0; j < width; ++j)
        store(out, static_cast<int64_t>(t) * width + j, load(table, ids[t] * width + j));
  }
  void embedding_backward(std::span<const int32_t> ids, const Tensor& dout, Tensor& dtable) override {
    int64_t width = dtable.cols();
    for (size_t t = 0; t < ids.size(); ++t)
      for (int64_t j = 0; j < width; ++j)
        accumulate(dtable, ids[t] * width + j, load(dout, static_cast<int64_t>(t) * width + j));
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    embedding(rows, x, out);
  }
  void scatter_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    int64_t width = x.cols();
    for (size_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < width; ++j)
        store(out, rows[i] * width + j, load(x, static_cast<int64_t>(i) * width + j));
  }

  void cross_entropy(const Tensor& logits, std::span<const int32_t> labels, float grad_scale, Tensor& losses,
                     Tensor& dlogits, const LossShape& shape, int32_t* best) override {
    int64_t vocab = logits.cols();
    const double e = shape.label_smoothing, v = static_cast<double>(vocab);
    for (int64_t r = 0; r < logits.rows(); ++r) {
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t j = 0; j < vocab; ++j) top = std::max(top, load(logits, r * vocab + j));
      for (int64_t j = 0; j < vocab; ++j) sum += std::exp(load(logits, r * vocab + j) - top);
      int32_t label = labels[static_cast<size_t>(r)];
      double normaliser = top + std::log(sum);
      double loss = normaliser - load(logits, r * vocab + label), total = 0;
      for (int64_t j = 0; j < vocab; ++j) total += load(logits, r * vocab + j);
      const double factor = shape.dft ? std::exp(-loss) : 1.0;
      loss = factor * ((1 - e) * loss + e * (normaliser - total / v));
      store(losses, r, loss);
      if (best) {
        int64_t at = 0;
        for (int64_t j = 1; j < vocab; ++j)
          if (load(logits, r * vocab + j) > load(logits, r * vocab + at)) at = j;
        best[r] = static_cast<int32_t>(at);
      }
      if (!dlogits.defined()) continue;
      for (int64_t j = 0; j < vocab; ++j)
        store(dlogits, r * vocab + j,
              grad_scale * factor *
                  (std::exp(load(logits, r * vocab + j) - normaliser) - (1 - e) * (j == label) - e / v));
    }
  }

  void adamw(Tensor& parameter, const Tensor& gradient, Tensor& m, Tensor& v, const AdamWArgs& a) override {
    double correction1 = 1.0 - std::pow(a.beta1, a.step), correction2 = 1.0 - std::pow(a.beta2, a.step);
    for (int64_t i = 0; i < parameter.numel(); ++i) {
      double g = load(gradient, i) * a.grad_scale, p = load(parameter, i);
      double first = a.beta1 * load(m, i) + (1.0 - a.beta1) * g,
             second = a.beta2 * load(v, i) + (1.0 - a.beta2) * g * g;
      store(m, i, first);
      store(v, i, second);
      p *= 1.0 - static_cast<double>(a.learning_rate) * a.weight_decay;
      store(parameter, i,
            p - a.learning_rate * (first / correction1) / (std::sqrt(second / correction2) + a.epsilon));
    }
  }

 private:
  template <typename Body>
  static void for_each_query(const AttentionSpec& spec, int64_t heads, int64_t kv_heads, Body body) {
    for (size_t s = 0; s + 1 < spec.cu_q.size(); ++s)
      for (int64_t i = 0; i < spec.cu_q[s + 1] - spec.cu_q[s]; ++i)
        for (int64_t h = 0; h < heads; ++h) body(s, i, h, h / (heads / kv_heads));
  }
  static std::vector<double> scores(const Tensor& q, const Tensor& k, const AttentionSpec& spec, size_t s,
                                    int64_t t, int64_t h, int64_t g, KeyRange range) {
    int64_t heads = q.dim(1), kv_heads = k.dim(1), dim = q.dim(2);
    std::vector<double> out;
    for (int64_t j = range.first; j < range.last; ++j) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d)
        dot += load(q, (t * heads + h) * dim + d) * load(k, ((spec.cu_k[s] + j) * kv_heads + g) * dim + d);
      out.push_back(dot * spec.scale);
    }
    return out;
  }
};

}  // namespace

Backend& reference_backend() {
  static ReferenceBackend backend;
  return backend;
}

}  // namespace fettle
