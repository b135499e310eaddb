#include "fettle/models/virtual_tokens.h"

namespace fettle {

PackingRef with_virtual_tokens(const Packing& packing, int64_t count) {
  auto longer = std::make_shared<Packing>();
  int32_t n = static_cast<int32_t>(count);
  longer->cu_seqlens.push_back(0);
  for (size_t s = 0; s + 1 < packing.cu_seqlens.size(); ++s) {
    for (int32_t i = 0; i < n; ++i) longer->positions.push_back(i);
    for (int32_t t = packing.cu_seqlens[s]; t < packing.cu_seqlens[s + 1]; ++t)
      longer->positions.push_back(packing.positions[static_cast<size_t>(t)] + n);
    longer->cu_seqlens.push_back(static_cast<int32_t>(longer->positions.size()));
  }
  longer->cu_keys = longer->cu_seqlens;
  return longer;
}

PackingRef behind_virtual_keys(const Packing& packing, int64_t count, bool keys) {
  auto shifted = std::make_shared<Packing>(packing);
  int32_t n = static_cast<int32_t>(count);
  for (int32_t& position : shifted->positions) position += n;
  if (keys)
    for (size_t s = 0; s < shifted->cu_keys.size(); ++s) shifted->cu_keys[s] += static_cast<int32_t>(s) * n;
  return shifted;
}

std::vector<int32_t> real_rows(const Packing& packing, int64_t count, bool last_virtual) {
  std::vector<int32_t> rows, last;
  int32_t n = static_cast<int32_t>(count);
  for (size_t s = 0; s + 1 < packing.cu_seqlens.size(); ++s) {
    int32_t shift = static_cast<int32_t>(s + 1) * n;
    last.push_back(packing.cu_seqlens[s] + shift - 1);
    for (int32_t t = packing.cu_seqlens[s]; t < packing.cu_seqlens[s + 1]; ++t) rows.push_back(t + shift);
  }
  if (last_virtual) rows.insert(rows.end(), last.begin(), last.end());
  return rows;
}

}  // namespace fettle
