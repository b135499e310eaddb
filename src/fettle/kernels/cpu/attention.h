// Blocked attention of the CPU backend; see Backend::attention.
#pragma once
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                       Tensor& out, Tensor& lse);
void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                        Tensor& dk, Tensor& dv);

/// What the two take besides their operands; nothing is computed. `need`: a thread's scratch_f32(slot, n).
void rehearse_attention(const Tensor& q, const Tensor& k, const AttentionSpec& spec, bool backward,
                        const ScratchNeed& need);

}  // namespace fettle::cpu
