#include "fettle/kernels/rehearsal.h"

#include <algorithm>
#include <array>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/attention.h"
#include "fettle/kernels/cpu/method_kernels.h"
#include "fettle/kernels/cpu/products.h"

namespace fettle {
namespace {

using namespace cpu;

class RehearsalBackend final : public Backend {
 public:
  explicit RehearsalBackend(bool only_tensors) : only_tensors_(only_tensors) {}

  Device device() const override { return {}; }
  std::string description() const override { return "rehearsal"; }
  bool has_native_bf16() const override { return cpu_backend().has_native_bf16(); }

  void matmul(const MatmulArgs& args) override {
    if (!only_tensors_) rehearse_matmul(args, need_);
  }
  void attention(const Tensor& q, const Tensor& k, const Tensor&, const AttentionSpec& spec, Tensor&,
                 Tensor&) override {
    rehearse_attention(q, k, spec, false, need_);
  }
  void attention_backward(const Tensor&, const Tensor& q, const Tensor& k, const Tensor&, const Tensor&,
                          const Tensor&, const AttentionSpec& spec, Tensor&, Tensor&, Tensor&) override {
    rehearse_attention(q, k, spec, true, need_);
  }
  void cross_entropy(const Tensor& logits, std::span<const int32_t>, float, Tensor&, Tensor& dlogits,
                     const LossShape&, int32_t*) override {
    if (!dlogits.defined()) return;
    need(kExponentials, logits.cols(), logits.rows());
    // f32 copies of rows where the types differ; see Run in rows.h.
    if (dlogits.dtype() == logits.dtype()) return;
    if (logits.dtype() != DType::kF32) need(0, logits.cols(), logits.rows());
    if (dlogits.dtype() != DType::kF32) need(1, logits.cols(), logits.rows());
  }

  void rotate_blocks(const Tensor& x, const Tensor&, bool, std::span<const int32_t>, Tensor&) override {
    rehearse_blocks(x, false, need_);
  }
  void add_block_products(const Tensor& x, const Tensor&, std::span<const int32_t>, Tensor&) override {
    rehearse_blocks(x, true, need_);
  }

  // Rows and short runs in scratch that the ops above outgrow.
  void fill(Tensor&, double) override {}
  void convert(const Tensor&, Tensor&) override {}
  void add(const Tensor&, const Tensor&, Tensor&) override {}
  void axpy(double, const Tensor&, Tensor&) override {}
  void scale(Tensor&, double) override {}
  void dropout(const Tensor&, float, const RandomKey&, Tensor&) override {}
  double sum_squares(const Tensor&) override { return 0; }
  bool all_finite(const Tensor&) override { return true; }
  void add_column_sums(const Tensor&, Tensor&) override {}
  void rms_norm(const Tensor&, const Tensor&, float, Tensor&, Tensor&) override {}
  void add_rms_norm(const Tensor&, const Tensor&, const Tensor&, float, Tensor&, Tensor&, Tensor&) override {}
  void rms_norm_backward(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&,
                         Tensor&) override {}
  void layer_norm(const Tensor&, const Tensor&, const Tensor&, float, Tensor&, Tensor&, Tensor&) override {}
  void layer_norm_backward(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&,
                           Tensor&, Tensor&) override {}
  void rotary(const Tensor&, std::span<const int32_t>, const Tensor&, const Tensor&, bool, Tensor&) override {
  }
  void swiglu(const Tensor&, const Tensor&, Tensor&) override {}
  void swiglu_backward(const Tensor&, const Tensor&, const Tensor&, Tensor&, Tensor&) override {}
  void multiply(const Tensor&, const Tensor&, Tensor&) override {}
  void scale_columns(const Tensor&, const Tensor&, const Tensor&, Tensor&) override {}
  void add_column_products(const Tensor&, const Tensor&, Tensor&) override {}
  void transpose_last(const Tensor&, Tensor&) override {}
  void activate(Activation, const Tensor&, Tensor&) override {}
  void activate_backward(Activation, const Tensor&, const Tensor&, Tensor&) override {}
  void embedding(std::span<const int32_t>, const Tensor&, Tensor&) override {}
  void embedding_backward(std::span<const int32_t>, const Tensor&, Tensor&) override {}
  void gather_rows(const Tensor&, std::span<const int32_t>, Tensor&) override {}
  void scatter_rows(const Tensor&, std::span<const int32_t>, Tensor&) override {}
  void adamw(Tensor&, const Tensor&, Tensor&, Tensor&, const AdamWArgs&) override {}

 private:
  // As scratch_f32: a buffer for each thread and slot, which only grows.
  void need(int slot, int64_t n, int64_t threads) {
    if (only_tensors_) return;
    std::vector<Buffer>& buffers = scratch_[static_cast<size_t>(slot)];
    const size_t count = static_cast<size_t>(std::min<int64_t>(threads, thread_count()));
    if (buffers.size() < count) buffers.resize(count);
    for (size_t i = 0; i < count; ++i) {
      if (n <= buffers[i].capacity) continue;
      buffers[i].block.reset();
      buffers[i] = {HostMemory::instance().allocate(static_cast<size_t>(n) * 4, MemoryKind::kWorkspace), n};
    }
  }

  struct Buffer {
    std::shared_ptr<void> block;
    int64_t capacity = 0;
  };
  bool only_tensors_;
  std::array<std::vector<Buffer>, kScratchSlots> scratch_;
  ScratchNeed need_ = [this](int slot, int64_t n, int64_t threads) { need(slot, n, threads); };
};

}  // namespace

std::unique_ptr<Backend> rehearsal_backend(bool only_tensors) {
  return std::make_unique<RehearsalBackend>(only_tensors);
}

}  // namespace fettle
