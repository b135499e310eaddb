// Blocked attention of the CPU backend; see Backend::attention.
#pragma once
#include "fettle/kernels/backend.h"

namespace fettle::cpu {

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                       Tensor& out, Tensor& lse);
void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                        Tensor& dk, Tensor& dv);

}  // namespace fettle::cpu
