#include "fettle/peft/dense_weight.h"

namespace fettle {

Tensor f32_copy(const Tensor& tensor) {
  Tensor out = tensor.to(DType::kF32, MemoryKind::kWorkspace);
  return out.shares_storage_with(tensor) ? out.clone(MemoryKind::kWorkspace) : out;
}

Tensor transposed(const Tensor& matrix) {
  int64_t m = matrix.dim(0), n = matrix.dim(1);
  Tensor out = Tensor::empty({1, n, m}, matrix.dtype(), MemoryKind::kWorkspace);
  cpu_backend().transpose_last(matrix.reshape({1, m, n}), out);
  return out.reshape({n, m});
}

Tensor dense_value(const Parameter& parameter) {
  return parameter.quantized ? dequantize(*parameter.quantized) : f32_copy(parameter.value);
}

Tensor dense_weight(const Linear& linear) {
  Tensor copy = dense_value(*linear.weight);
  return linear.conv1d ? transposed(copy) : copy;
}

Tensor dense_weight_rows(const Linear& linear, int64_t begin, int64_t end) {
  if (linear.conv1d) return dense_weight(linear).rows_view(begin, end).clone(MemoryKind::kWorkspace);
  if (const QuantizedMatrix* quantized = linear.weight->quantized.get()) {
    Tensor rows = Tensor::empty({end - begin, quantized->cols}, DType::kF32, MemoryKind::kWorkspace);
    dequantize(*quantized, begin * quantized->cols, rows.numel(), rows.data<float>());
    return rows;
  }
  return f32_copy(linear.weight->value.rows_view(begin, end));
}

}  // namespace fettle
