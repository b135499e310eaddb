// Rows of tensors as f32 runs: what every kernel that is not a product works on.
#pragma once
#include <array>
#include <cstring>
#include <functional>

#include "fettle/base/error.h"
#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/vector_kernels.h"
#include "fettle/tensor/tensor.h"

namespace fettle::cpu {

inline const std::byte* at(const Tensor& t, int64_t element) {
  return static_cast<const std::byte*>(t.raw()) + element * static_cast<int64_t>(dtype_size(t.dtype()));
}
inline std::byte* at(Tensor& t, int64_t element) {
  return static_cast<std::byte*>(t.raw()) + element * static_cast<int64_t>(dtype_size(t.dtype()));
}

inline void read_f32(const std::byte* source, DType dtype, float* out, int64_t n) {
  const VectorKernels& v = vector_kernels();
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, source, static_cast<size_t>(n) * 4);
      return;
    case DType::kBF16:
      v.bf16_to_f32(reinterpret_cast<const uint16_t*>(source), out, n);
      return;
    case DType::kF16:
      v.f16_to_f32(reinterpret_cast<const uint16_t*>(source), out, n);
      return;
    default:
      FETTLE_CHECK(false, "the CPU backend has no arithmetic for {}", dtype_name(dtype));
  }
}
inline void write_f32(const float* source, std::byte* out, DType dtype, int64_t n) {
  const VectorKernels& v = vector_kernels();
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, source, static_cast<size_t>(n) * 4);
      return;
    case DType::kBF16:
      v.f32_to_bf16(source, reinterpret_cast<uint16_t*>(out), n);
      return;
    case DType::kF16:
      v.f32_to_f16(source, reinterpret_cast<uint16_t*>(out), n);
      return;
    default:
      FETTLE_CHECK(false, "the CPU backend has no arithmetic for {}", dtype_name(dtype));
  }
}

/// Per-thread f32 scratch of at least n floats; `slot` keeps several apart.
float* scratch_f32(int slot, int64_t n);
inline constexpr size_t kScratchSlots = 24;
/// cross_entropy's slot for a row of exponentials, beside those of its Run.
inline constexpr int kExponentials = 2;
/// Called instead of scratch_f32 where a kernel is only rehearsed; `threads`: how many threads would ask.
using ScratchNeed = std::function<void(int slot, int64_t n, int64_t threads)>;

/// A run of a tensor for reading: the tensor's own memory when it is f32, else converted into `buffer` (n
/// floats).
inline const float* row_f32(const Tensor& t, int64_t element, int64_t n, float* buffer) {
  if (t.dtype() == DType::kF32) return reinterpret_cast<const float*>(at(t, element));
  read_f32(at(t, element), t.dtype(), buffer, n);
  return buffer;
}

/// A run for writing: f32 results go straight into the tensor, others through `buffer` and store().
class OutRow {
 public:
  OutRow(Tensor& t, int64_t element, int64_t n, float* buffer)
      : target_(at(t, element)),
        dtype_(t.dtype()),
        n_(n),
        data_(t.dtype() == DType::kF32 ? reinterpret_cast<float*>(target_) : buffer) {}
  float* data() { return data_; }
  void store() {
    if (dtype_ != DType::kF32) write_f32(data_, target_, dtype_, n_);
  }

 private:
  std::byte* target_;
  DType dtype_;
  int64_t n_;
  float* data_;
};

/// An operand of a row kernel: read, written, or both.
struct Operand {
  const Tensor* tensor;
  bool read, written;
};
inline Operand in(const Tensor& t) {
  return {&t, true, false};
}
inline Operand out(Tensor& t) {
  return {&t, false, true};
}
inline Operand in_out(Tensor& t) {
  return {&t, true, true};
}

/// n elements of some tensors for one row kernel: where they lie when all are of one type, else f32 copies in
/// scratch slots 0, 1, … for the f32 kernel, and store() writes back. A tensor that is not defined gives
/// null.
template <size_t N>
class Run {
 public:
  Run(const std::array<Operand, N>& operands, int64_t element, int64_t n)
      : operands_(operands), element_(element), n_(n), dtype_(common_dtype(operands)) {
    for (size_t i = 0; i < N; ++i) {
      const Tensor& t = *operands[i].tensor;
      if (!t.defined()) continue;
      pointers_[i] = const_cast<std::byte*>(at(t, element));
      if (t.dtype() == dtype_) continue;
      float* copy = scratch_f32(static_cast<int>(i), n);
      if (operands[i].read) read_f32(pointers_[i], t.dtype(), copy, n);
      pointers_[i] = reinterpret_cast<std::byte*>(copy);
    }
  }
  DType dtype() const { return dtype_; }
  const RowKernels& kernels() const { return row_kernels(dtype_); }
  void* operator[](size_t i) const { return pointers_[i]; }
  void store() const {
    for (size_t i = 0; i < N; ++i) {
      const Operand& operand = operands_[i];
      if (!pointers_[i] || !operand.written || operand.tensor->dtype() == dtype_) continue;
      write_f32(reinterpret_cast<const float*>(pointers_[i]),
                const_cast<std::byte*>(at(*operand.tensor, element_)), operand.tensor->dtype(), n_);
    }
  }
  static DType common_dtype(const std::array<Operand, N>& operands) {
    const DType first = operands[0].tensor->dtype();
    for (const Operand& operand : operands)
      if (operand.tensor->defined() && operand.tensor->dtype() != first) return DType::kF32;
    return first;
  }

 private:
  const std::array<Operand, N>& operands_;
  int64_t element_, n_;
  DType dtype_;
  std::array<std::byte*, N> pointers_{};
};

}  // namespace fettle::cpu
