// The layout of a packed row when virtual tokens stand before its sequences.
#pragma once
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

/// Every sequence longer by `count` positions in front.
PackingRef with_virtual_tokens(const Packing& packing, int64_t count);
/// Positions and keys as if `count` tokens stood before every sequence, queries as they are. With `keys` the
/// prefix is among the keys of the pass, else in a cache.
PackingRef behind_virtual_keys(const Packing& packing, int64_t count, bool keys);
/// Where the real tokens stand after with_virtual_tokens; with `last_virtual` followed by the last virtual
/// token of each sequence.
std::vector<int32_t> real_rows(const Packing& packing, int64_t count, bool last_virtual);

}  // namespace fettle
