// The weight of a linear as f32 [out, in], whatever it is stored as.
#pragma once
#include "fettle/nn/modules.h"

namespace fettle {

/// A new tensor.
Tensor dense_weight(const Linear& linear);
/// Rows [begin, end) of it: output features.
Tensor dense_weight_rows(const Linear& linear, int64_t begin, int64_t end);
/// [m, n] to [n, m], f32.
Tensor transposed(const Tensor& matrix);
/// An f32 copy of a parameter's value, dequantised where it has to be.
Tensor dense_value(const Parameter& parameter);
/// An f32 copy of its own.
Tensor f32_copy(const Tensor& tensor);

}  // namespace fettle
