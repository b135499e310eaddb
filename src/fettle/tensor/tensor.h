// A tensor: a cheap handle to shared, contiguous, row-major storage.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fettle/tensor/dtype.h"
#include "fettle/tensor/memory.h"

namespace fettle {

enum class DeviceType : uint8_t { kCPU, kCUDA };
struct Device {
  DeviceType type = DeviceType::kCPU;
  int index = 0;
  bool operator==(const Device&) const = default;
};

using Shape = std::vector<int64_t>;
std::string shape_string(const Shape& shape);  ///< "[2, 3]"

/// Copies share storage. There are no strides: transposition is an argument of a kernel, and the only view is
/// a run of leading rows.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised storage.
  static Tensor empty(Shape shape, DType dtype, MemoryKind kind = MemoryKind::kActivations);
  static Tensor zeros(Shape shape, DType dtype, MemoryKind kind = MemoryKind::kActivations);
  /// Storage of another owner (a file mapping, a vector); `owner` is kept alive.
  static Tensor external(const void* data, Shape shape, DType dtype, std::shared_ptr<const void> owner);
  template <typename T>
  static Tensor from(std::span<const T> values, Shape shape, MemoryKind kind = MemoryKind::kActivations) {
    Tensor t = empty(std::move(shape), dtype_of<T>(), kind);
    t.assign(values.data(), values.size_bytes());
    return t;
  }
  template <typename T>
  static Tensor from(const std::vector<T>& values, Shape shape, MemoryKind kind = MemoryKind::kActivations) {
    return from(std::span<const T>(values), std::move(shape), kind);
  }

  bool defined() const { return data_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i < 0 ? shape_.size() + i : i]; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t numel() const;
  /// Product of all dimensions but the last / the last dimension (1 for a scalar).
  int64_t rows() const { return shape_.empty() ? 1 : numel_of_leading(); }
  int64_t cols() const { return shape_.empty() ? 1 : shape_.back(); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  size_t nbytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype_); }

  void* raw() { return data_.get(); }
  const void* raw() const { return data_.get(); }
  /// Typed access; an internal error when T is not the dtype.
  template <typename T>
  T* data() {
    check_dtype(dtype_of<T>());
    return static_cast<T*>(data_.get());
  }
  template <typename T>
  const T* data() const {
    check_dtype(dtype_of<T>());
    return static_cast<const T*>(data_.get());
  }
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<size_t>(numel())};
  }
  template <typename T>
  std::span<T> span() {
    return {data<T>(), static_cast<size_t>(numel())};
  }

  /// Rows [begin, end) of the first dimension; shares storage.
  Tensor rows_view(int64_t begin, int64_t end) const;
  /// Same storage, other shape with the same number of elements.
  Tensor reshape(Shape shape) const;
  Tensor clone(MemoryKind kind = MemoryKind::kActivations) const;
  /// Host conversion between floating dtypes, f32 in between; returns *this when the dtype is the same.
  Tensor to(DType dtype, MemoryKind kind = MemoryKind::kActivations) const;
  /// Copies `bytes` (= nbytes()) from host memory.
  void assign(const void* source, size_t bytes);
  bool shares_storage_with(const Tensor& other) const { return data_ && data_ == other.data_; }

 private:
  int64_t numel_of_leading() const;
  void check_dtype(DType wanted) const;
  std::shared_ptr<void> data_;
  Shape shape_;
  DType dtype_ = DType::kF32;
  Device device_;
};

}  // namespace fettle
