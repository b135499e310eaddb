#include "fettle/tensor/tensor.h"

#include <cstring>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/tensor/rehearsal.h"

namespace fettle {
namespace {

int64_t product(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

template <typename From, typename To>
void convert_run(const void* source, void* target, int64_t n) {
  const From* in = static_cast<const From*>(source);
  To* out = static_cast<To*>(target);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<From, double> && std::is_same_v<To, double>)
      out[i] = in[i];
    else if constexpr (std::is_same_v<To, double>)
      out[i] = static_cast<double>(static_cast<float>(in[i]));
    else
      out[i] = static_cast<To>(static_cast<float>(in[i]));
  }
}

template <typename From>
void convert_from(const void* source, void* target, DType to, int64_t n) {
  switch (to) {
    case DType::kF32:
      return convert_run<From, float>(source, target, n);
    case DType::kBF16:
      return convert_run<From, bf16>(source, target, n);
    case DType::kF16:
      return convert_run<From, f16>(source, target, n);
    case DType::kF64:
      return convert_run<From, double>(source, target, n);
    default:
      FETTLE_CHECK(false, "conversion to {}", dtype_name(to));
  }
}

void convert_any(const void* source, DType from, void* target, DType to, int64_t n) {
  switch (from) {
    case DType::kF32:
      return convert_from<float>(source, target, to, n);
    case DType::kBF16:
      return convert_from<bf16>(source, target, to, n);
    case DType::kF16:
      return convert_from<f16>(source, target, to, n);
    case DType::kF64:
      return convert_from<double>(source, target, to, n);
    default:
      FETTLE_CHECK(false, "conversion from {}", dtype_name(from));
  }
}

}  // namespace

std::string shape_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Tensor Tensor::empty(Shape shape, DType dtype, MemoryKind kind) {
  Tensor t;
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  t.data_ = HostMemory::instance().allocate(t.nbytes(), kind);
  return t;
}
Tensor Tensor::zeros(Shape shape, DType dtype, MemoryKind kind) {
  Tensor t = empty(std::move(shape), dtype, kind);
  if (!rehearses()) std::memset(t.raw(), 0, t.nbytes());
  return t;
}
Tensor Tensor::external(const void* data, Shape shape, DType dtype, std::shared_ptr<const void> owner) {
  Tensor t;
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  // The constness of a mapping is kept by the page protection: a write would fault, and no op writes to an
  // input.
  t.data_ = std::shared_ptr<void>(std::const_pointer_cast<void>(owner), const_cast<void*>(data));
  return t;
}
int64_t Tensor::numel() const {
  return product(shape_);
}
int64_t Tensor::numel_of_leading() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < shape_.size(); ++i) n *= shape_[i];
  return n;
}
void Tensor::check_dtype(DType wanted) const {
  FETTLE_CHECK(dtype_ == wanted, "tensor {} is {}, accessed as {}", shape_string(shape_), dtype_name(dtype_),
               dtype_name(wanted));
}
Tensor Tensor::rows_view(int64_t begin, int64_t end) const {
  FETTLE_CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0], "rows {}..{} of {}", begin, end,
               shape_string(shape_));
  Tensor t = *this;
  size_t row_bytes = shape_[0] ? nbytes() / static_cast<size_t>(shape_[0]) : 0;
  t.data_ = std::shared_ptr<void>(
      data_, static_cast<std::byte*>(data_.get()) + row_bytes * static_cast<size_t>(begin));
  t.shape_[0] = end - begin;
  return t;
}
Tensor Tensor::reshape(Shape shape) const {
  FETTLE_CHECK(product(shape) == numel(), "reshape of {} to {}", shape_string(shape_), shape_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}
Tensor Tensor::clone(MemoryKind kind) const {
  Tensor t = empty(shape_, dtype_, kind);
  if (!rehearses()) std::memcpy(t.raw(), raw(), nbytes());
  return t;
}
Tensor Tensor::to(DType dtype, MemoryKind kind) const {
  if (dtype == dtype_) return *this;
  Tensor t = empty(shape_, dtype, kind);
  if (rehearses()) return t;
  constexpr int64_t kRun = 1 << 16;
  int64_t n = numel();
  parallel_for((n + kRun - 1) / kRun, [&](int64_t chunk) {
    int64_t begin = chunk * kRun, count = std::min(kRun, n - begin);
    convert_any(static_cast<const std::byte*>(raw()) + begin * static_cast<int64_t>(dtype_size(dtype_)),
                dtype_, static_cast<std::byte*>(t.raw()) + begin * static_cast<int64_t>(dtype_size(dtype)),
                dtype, count);
  });
  return t;
}
void Tensor::assign(const void* source, size_t bytes) {
  FETTLE_CHECK(bytes == nbytes(), "{} bytes for tensor {} of {}", bytes, shape_string(shape_), nbytes());
  if (bytes && !rehearses()) std::memcpy(raw(), source, bytes);
}

}  // namespace fettle
