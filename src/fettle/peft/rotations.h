// Orthogonal matrices from skew-symmetric ones, block by block, as values of the graph.
#pragma once
#include "fettle/autograd/ops.h"

namespace fettle {

/// S[n] with the upper triangle (row by row) vectors[n]: [n, size (size - 1) / 2] to [n, size, size].
Var skew_from_vectors(Context& context, Parameter& vectors, int64_t size);
/// (D - Dᵀ) / 2 of squares [..., size, size], as [n, size, size].
Var skew_part(Context& context, Parameter& squares);
/// The Cayley transform (I - S) (I + S)⁻¹.
Var cayley(Context& context, const Var& skew);
/// Its Neumann series as PEFT cuts it: I + 2 S + 2 S² + … with the last of `terms` powers once (Qiu et al.,
/// OFTv2, arXiv 2506.19847; PEFT: tuners/oft/layer.py, _cayley_batch).
Var cayley_neumann(Context& context, const Var& skew, int64_t terms);
/// In training, `share` of the blocks [n, size, size], drawn for each pass, become the identity: the
/// multiplicative dropout of OFT and BOFT (Qiu et al., arXiv 2306.07280; PEFT: MultiplicativeDropoutLayer).
/// Of several factors of n / `factors` blocks one is drawn first and only its blocks are replaced. `site`
/// names the module in the key of the draw.
Var drop_blocks(Context& context, const Var& blocks, int64_t factors, double share, uint32_t site);

}  // namespace fettle
