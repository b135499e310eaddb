// The CPU backend: rows of tensors over threads, the vector loops inside; products and attention in their own
// files.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <vector>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/attention.h"
#include "fettle/kernels/cpu/method_kernels.h"
#include "fettle/kernels/cpu/products.h"
#include "fettle/kernels/cpu/row_loops.h"

namespace fettle {
namespace cpu {

float* scratch_f32(int slot, int64_t n) {
  struct Buffer {
    std::shared_ptr<void> block;
    int64_t capacity = 0;
  };
  thread_local std::array<Buffer, kScratchSlots> buffers;
  Buffer& buffer = buffers[static_cast<size_t>(slot)];
  if (n > buffer.capacity) {
    buffer.block.reset();
    buffer.block = HostMemory::instance().allocate(static_cast<size_t>(n) * 4, MemoryKind::kWorkspace);
    buffer.capacity = n;
  }
  return static_cast<float*>(buffer.block.get());
}

}  // namespace cpu

namespace {

using namespace cpu;

void add_into(Tensor& out, const float* values) {
  vector_kernels().add(out.data<float>(), values, out.data<float>(), out.numel());
}

class CpuBackend final : public Backend {
 public:
  Device device() const override { return {}; }
  std::string description() const override {
    return fmt::format("{}, {} thread{}", instruction_set(), thread_count(), thread_count() == 1 ? "" : "s");
  }
  bool has_native_bf16() const override { return native_bf16(); }

  void fill(Tensor& out, double value) override {
    if (value == 0.0) {
      for_runs(out.numel(), [&](int64_t begin, int64_t n) {
        std::memset(at(out, begin), 0, static_cast<size_t>(n) * dtype_size(out.dtype()));
      });
      return;
    }
    for_runs(out.numel(), [&](int64_t begin, int64_t n) {
      float* buffer = scratch_f32(0, n);
      std::fill(buffer, buffer + n, static_cast<float>(value));
      write_f32(buffer, at(out, begin), out.dtype(), n);
    });
  }
  void convert(const Tensor& source, Tensor& out) override {
    for_runs(out.numel(), [&](int64_t begin, int64_t n) {
      write_f32(row_f32(source, begin, n, scratch_f32(0, n)), at(out, begin), out.dtype(), n);
    });
  }
  void add(const Tensor& a, const Tensor& b, Tensor& out) override {
    for_elements(std::array{in(a), in(b), cpu::out(out)},
                 [](const Run<3>& run, int64_t, int64_t n) { run.kernels().add(run[0], run[1], run[2], n); });
  }
  void axpy(double alpha, const Tensor& x, Tensor& y) override {
    for_elements(std::array{in(x), in_out(y)}, [=](const Run<2>& run, int64_t, int64_t n) {
      run.kernels().axpy(static_cast<float>(alpha), run[0], run[1], n);
    });
  }
  void scale(Tensor& x, double alpha) override {
    for_elements(std::array{in_out(x)}, [=](const Run<1>& run, int64_t, int64_t n) {
      run.kernels().scale(static_cast<float>(alpha), run[0], run[0], n);
    });
  }
  void dropout(const Tensor& x, float p, const RandomKey& key, Tensor& out) override {
    // The words of RandomKey::block, taken apart for the vector loop.
    const uint32_t seed[2] = {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)};
    const uint32_t counter[3] = {
        static_cast<uint32_t>(key.step), key.site,
        static_cast<uint32_t>(key.use) << 28 | static_cast<uint32_t>((key.step >> 32) & 0xFFFFF) << 8};
    for_elements(std::array{in(x), cpu::out(out)}, [&](const Run<2>& run, int64_t begin, int64_t n) {
      run.kernels().dropout(run[0], p, seed, counter, static_cast<uint64_t>(begin / 4), run[1], n);
    });
  }
  double sum_squares(const Tensor& x) override {
    std::vector<double> partial(static_cast<size_t>((x.numel() + kRun - 1) / kRun));
    for_elements(std::array{in(x)}, [&](const Run<1>& run, int64_t begin, int64_t n) {
      partial[static_cast<size_t>(begin / kRun)] = run.kernels().sum_squares(run[0], 0.0f, n);
    });
    double total = 0;
    for (double value : partial) total += value;
    return total;
  }
  bool all_finite(const Tensor& x) override {
    std::atomic<bool> finite = true;
    for_elements(std::array{in(x)}, [&](const Run<1>& run, int64_t, int64_t n) {
      if (!run.kernels().finite(run[0], n)) finite = false;
    });
    return finite;
  }

  void matmul(const MatmulArgs& args) override { cpu::matmul(args); }
  void add_column_sums(const Tensor& x, Tensor& out) override {
    std::vector<float> total;
    const int64_t width = x.cols();
    sum_rows(
        x.rows(), width, 1,
        [&](int64_t r, float* partial) {
          row_kernels(x.dtype()).add_columns(at(x, r * width), partial, width);
        },
        total);
    add_into(out, total.data());
  }

  void rms_norm(const Tensor& x, const Tensor& weight, float eps, Tensor& y, Tensor& rstd) override {
    norm_rows(x, Tensor(), weight, eps, nullptr, y, rstd);
  }
  void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, float eps, Tensor& sum,
                    Tensor& y, Tensor& rstd) override {
    norm_rows(x, delta, weight, eps, &sum, y, rstd);
  }
  void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dweight) override {
    int64_t width = x.cols(), rows = x.rows();
    std::vector<float> w_buffer(static_cast<size_t>(width));
    const float* w = row_f32(weight, 0, width, w_buffer.data());
    const float* r = rstd.data<float>();
    if (dx.defined())
      for_row_runs(rows, width, std::array{in(dy), in(x), in(residual), out(dx)},
                   [&](const Run<4>& run, int64_t row) {
                     const RowKernels& k = run.kernels();
                     const float dot = k.dot_weighted(run[0], w, run[1], 0.0f, width),
                                 cubed = r[row] * r[row] * r[row];
                     k.rms_norm_backward(run[0], w, run[1], r[row], cubed * dot / static_cast<float>(width),
                                         run[2], run[3], width);
                   });
    if (!dweight.defined()) return;
    std::vector<float> total;
    const std::array operands{in(dy), in(x)};
    sum_rows(
        rows, width, 1,
        [&](int64_t row, float* partial) {
          Run<2> run(operands, row * width, width);
          run.kernels().add_column_products(r[row], run[0], run[1], 0.0f, partial, width);
        },
        total);
    add_into(dweight, total.data());
  }
  void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor& y,
                  Tensor& mean, Tensor& rstd) override {
    const int64_t width = x.cols();
    std::vector<float> w_buffer(static_cast<size_t>(width)), b_buffer(static_cast<size_t>(width));
    const float* w = row_f32(weight, 0, width, w_buffer.data());
    const float* b = bias.defined() ? row_f32(bias, 0, width, b_buffer.data()) : b_buffer.data();
    for_row_runs(x.rows(), width, std::array{in(x), out(y)}, [&](const Run<2>& run, int64_t row) {
      const RowKernels& k = run.kernels();
      const float average = k.sum(run[0], width) / static_cast<float>(width);
      const double variance = k.sum_squares(run[0], average, width) / static_cast<double>(width);
      const float inverse = 1.0f / std::sqrt(static_cast<float>(variance) + eps);
      mean.data<float>()[row] = average;
      rstd.data<float>()[row] = inverse;
      k.layer_norm(run[0], w, b, average, inverse, run[1], width);
    });
  }
  void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, Tensor& dx, Tensor& dweight, Tensor& dbias) override {
    const int64_t width = x.cols();
    std::vector<float> w_buffer(static_cast<size_t>(width));
    const float* w = row_f32(weight, 0, width, w_buffer.data());
    const float *m = mean.data<float>(), *r = rstd.data<float>();
    if (dx.defined())
      for_row_runs(x.rows(), width, std::array{in(dy), in(x), out(dx)}, [&](const Run<3>& run, int64_t row) {
        const RowKernels& k = run.kernels();
        const float count = static_cast<float>(width), sum = k.dot_columns(run[0], w, width),
                    dot = k.dot_weighted(run[0], w, run[1], m[row], width);
        k.layer_norm_backward(run[0], w, run[1], m[row], r[row], sum / count, r[row] * r[row] * dot / count,
                              run[2], width);
      });
    if (!dweight.defined() && !dbias.defined()) return;
    std::vector<float> total;
    const std::array operands{in(dy), in(x)};
    sum_rows(
        x.rows(), width, 2,
        [&](int64_t row, float* partial) {
          Run<2> run(operands, row * width, width);
          run.kernels().add_column_products(r[row], run[0], run[1], m[row], partial, width);
          run.kernels().add_columns(run[0], partial + width, width);
        },
        total);
    if (dweight.defined()) add_into(dweight, total.data());
    if (dbias.defined()) add_into(dbias, total.data() + width);
  }

  void rotary(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
              bool inverse, Tensor& out) override {
    int64_t heads = x.dim(1), dim = x.dim(2), half = cos.cols(), width = heads * dim;
    for_row_runs(x.dim(0), width, std::array{in(x), cpu::out(out)}, [&](const Run<2>& run, int64_t t) {
      const int64_t angles = positions[static_cast<size_t>(t)] * half;
      run.kernels().rotary(run[0], cos.data<float>() + angles, sin.data<float>() + angles, inverse, run[1],
                           heads, dim, half);
    });
  }

  void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec, Tensor& out,
                 Tensor& lse) override {
    attention_forward(q, k, v, spec, out, lse);
  }
  void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                          Tensor& dk, Tensor& dv) override {
    cpu::attention_backward(dout, q, k, v, out, lse, spec, dq, dk, dv);
  }

  void swiglu(const Tensor& gate, const Tensor& up, Tensor& out) override {
    for_elements(std::array{in(gate), in(up), cpu::out(out)}, [](const Run<3>& run, int64_t, int64_t n) {
      run.kernels().swiglu(run[0], run[1], run[2], n);
    });
  }
  void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, Tensor& dgate,
                       Tensor& dup) override {
    for_elements(std::array{in(dout), in(gate), in(up), out(dgate), out(dup)},
                 [](const Run<5>& run, int64_t, int64_t n) {
                   run.kernels().swiglu_backward(run[0], run[1], run[2], run[3], run[4], n);
                 });
  }

  void multiply(const Tensor& a, const Tensor& b, Tensor& out) override {
    for_elements(std::array{in(a), in(b), cpu::out(out)}, [](const Run<3>& run, int64_t, int64_t n) {
      run.kernels().multiply(run[0], run[1], run[2], n);
    });
  }
  void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) override {
    cpu::scale_columns(x, scale, bias, out);
  }
  void transpose_last(const Tensor& x, Tensor& out) override { cpu::transpose_last(x, out); }
  void add_column_products(const Tensor& a, const Tensor& b, Tensor& out) override {
    std::vector<float> total;
    const int64_t width = a.cols();
    const std::array operands{in(a), in(b)};
    sum_rows(
        a.rows(), width, 1,
        [&](int64_t r, float* partial) {
          Run<2> run(operands, r * width, width);
          run.kernels().add_column_products(1.0f, run[0], run[1], 0.0f, partial, width);
        },
        total);
    add_into(out, total.data());
  }
  void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                     Tensor& out) override {
    cpu::rotate_blocks(x, blocks, transpose, order, out);
  }
  void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order,
                          Tensor& dblocks) override {
    cpu::add_block_products(x, dy, order, dblocks);
  }
  void activate(Activation kind, const Tensor& x, Tensor& out) override {
    for_elements(std::array{in(x), cpu::out(out)}, [=](const Run<2>& run, int64_t, int64_t n) {
      run.kernels().activate[static_cast<size_t>(kind)](run[0], run[1], n);
    });
  }
  void activate_backward(Activation kind, const Tensor& dout, const Tensor& x, Tensor& dx) override {
    for_elements(std::array{in(dout), in(x), out(dx)}, [=](const Run<3>& run, int64_t, int64_t n) {
      run.kernels().activate_backward[static_cast<size_t>(kind)](run[0], run[1], run[2], n);
    });
  }

  void embedding(std::span<const int32_t> ids, const Tensor& table, Tensor& out) override {
    int64_t width = table.cols();
    for_rows(static_cast<int64_t>(ids.size()), width, [&](int64_t t) {
      int64_t element = ids[static_cast<size_t>(t)] * width;
      if (table.dtype() == out.dtype()) {
        std::memcpy(at(out, t * width), at(table, element),
                    static_cast<size_t>(width) * dtype_size(out.dtype()));
        return;
      }
      write_f32(row_f32(table, element, width, scratch_f32(0, width)), at(out, t * width), out.dtype(),
                width);
    });
  }
  void embedding_backward(std::span<const int32_t> ids, const Tensor& dout, Tensor& dtable) override {
    // A thread owns a range of columns, so rows that occur twice are added in token order by one thread.
    int64_t width = dtable.cols();
    constexpr int64_t kColumns = 128;
    const RowKernels& k = row_kernels(dout.dtype());
    parallel_for((width + kColumns - 1) / kColumns, [&](int64_t chunk) {
      const int64_t begin = chunk * kColumns, n = std::min(kColumns, width - begin);
      for (size_t t = 0; t < ids.size(); ++t)
        k.add_columns(at(dout, static_cast<int64_t>(t) * width + begin),
                      dtable.data<float>() + ids[t] * width + begin, n);
    });
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    embedding(rows, x, out);
  }
  void scatter_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    size_t bytes = static_cast<size_t>(x.cols()) * dtype_size(x.dtype());
    for_rows(static_cast<int64_t>(rows.size()), x.cols(), [&](int64_t i) {
      std::memcpy(at(out, rows[static_cast<size_t>(i)] * x.cols()), at(x, i * x.cols()), bytes);
    });
  }

  void cross_entropy(const Tensor& logits, std::span<const int32_t> labels, float grad_scale, Tensor& losses,
                     Tensor& dlogits, const LossShape& shape, int32_t* best) override {
    const int64_t vocab = logits.cols();
    const float smoothing = shape.label_smoothing, share = smoothing / static_cast<float>(vocab);
    for_row_runs(
        logits.rows(), vocab, std::array{in(logits), out(dlogits)}, [&](const Run<2>& run, int64_t r) {
          const RowKernels& k = run.kernels();
          const int32_t label = labels[static_cast<size_t>(r)];
          float* e = dlogits.defined() ? scratch_f32(kExponentials, vocab) : nullptr;
          const float top = k.max(run[0], vocab), sum = k.exp_sum(run[0], top, e, vocab);
          if (best) best[r] = first_of(logits, r * vocab, vocab, top);
          float wanted;
          read_f32(at(logits, r * vocab + label), logits.dtype(), &wanted, 1);
          float loss = top + std::log(sum) - wanted;
          const float factor = shape.dft ? std::exp(-loss) : 1.0f;
          if (smoothing > 0)
            loss = (1 - smoothing) * loss +
                   smoothing * (top + std::log(sum) - k.sum(run[0], vocab) / static_cast<float>(vocab));
          losses.data<float>()[r] = factor * loss;
          if (!dlogits.defined()) return;
          const float scale = grad_scale * factor, less = scale * share;
          k.scale_shift(scale / sum, e, less, run[1], vocab);
          const float at_label = scale / sum * e[label] - less - scale * (1 - smoothing);
          write_f32(&at_label,
                    static_cast<std::byte*>(run[1]) + label * static_cast<int64_t>(dtype_size(run.dtype())),
                    run.dtype(), 1);
        });
  }

  void adamw(Tensor& parameter, const Tensor& gradient, Tensor& m, Tensor& v, const AdamWArgs& a) override {
    double correction1 = 1.0 - std::pow(static_cast<double>(a.beta1), static_cast<double>(a.step));
    double correction2 = 1.0 - std::pow(static_cast<double>(a.beta2), static_cast<double>(a.step));
    float step_size = static_cast<float>(a.learning_rate / correction1),
          root = static_cast<float>(1.0 / std::sqrt(correction2));
    for_runs(parameter.numel(), [&](int64_t begin, int64_t n) {
      vector_kernels().adamw(parameter.data<float>() + begin, gradient.data<float>() + begin,
                             m.data<float>() + begin, v.data<float>() + begin, n, a.grad_scale, a.beta1,
                             a.beta2, 1.0f - a.learning_rate * a.weight_decay, step_size, root, a.epsilon);
    });
  }

 private:
  static void norm_rows(const Tensor& x, const Tensor& delta, const Tensor& weight, float eps, Tensor* sum,
                        Tensor& y, Tensor& rstd) {
    // The f32 kernel would not round what is normalised to x's type.
    FETTLE_CHECK(
        x.dtype() == y.dtype() && (!sum || (delta.dtype() == x.dtype() && sum->dtype() == x.dtype())),
        "a norm of {} into {}", dtype_name(x.dtype()), dtype_name(y.dtype()));
    const int64_t width = x.cols();
    std::vector<float> w_buffer(static_cast<size_t>(width));
    const float* w = row_f32(weight, 0, width, w_buffer.data());
    const RowKernels& k = row_kernels(x.dtype());
    for_rows(x.rows(), width, [&](int64_t row) {
      const int64_t base = row * width;
      const std::byte* source = at(x, base);
      if (sum) {
        // The norm sees the sum as it is stored.
        k.add(source, at(delta, base), at(*sum, base), width);
        source = at(*sum, base);
      }
      const double mean = k.sum_squares(source, 0.0f, width) / static_cast<double>(width);
      const float inverse = 1.0f / std::sqrt(static_cast<float>(mean) + eps);
      rstd.data<float>()[row] = inverse;
      k.rms_norm(source, w, inverse, at(y, base), width);
    });
  }
  // The first element that equals `value`.
  static int32_t first_of(const Tensor& t, int64_t begin, int64_t n, float value) {
    constexpr int64_t kStep = 256;
    std::array<float, kStep> buffer;
    for (int64_t i = 0; i < n; i += kStep) {
      const int64_t count = std::min(kStep, n - i);
      const float* x = row_f32(t, begin + i, count, buffer.data());
      const float* found = std::find(x, x + count, value);
      if (found != x + count) return static_cast<int32_t>(i + (found - x));
    }
    return static_cast<int32_t>(n);
  }
};

}  // namespace

Backend& cpu_backend() {
  static CpuBackend backend;
  return backend;
}

std::string cpu_backend_description() {
  return cpu_backend().description();
}

}  // namespace fettle
