// A few rows against many for any processor.
#include "fettle/kernels/cpu/row_products.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")

namespace fettle::cpu {
namespace {

constexpr int kWidth = 4;
typedef float Vector __attribute__((vector_size(16)));
enum class Bf16 : uint16_t {};
enum class F16 : uint16_t {};

inline Vector load(const float* source) {
  Vector value;
  __builtin_memcpy(&value, source, sizeof value);
  return value;
}
inline Vector load(const Bf16* source) {
  uint32_t bits[kWidth];
  for (int i = 0; i < kWidth; ++i) bits[i] = static_cast<uint32_t>(source[i]) << 16;
  Vector value;
  __builtin_memcpy(&value, bits, sizeof value);
  return value;
}
inline Vector load(const F16* source) {
  Vector value;
  for (int i = 0; i < kWidth; ++i) {
    // As half_to_float of vector_kernels.inc.
    const uint32_t h = static_cast<uint32_t>(source[i]), magnitude = (h & 0x7FFFu) << 13;
    float scaled;
    __builtin_memcpy(&scaled, &magnitude, 4);
    scaled *= 0x1p112f;
    uint32_t bits;
    __builtin_memcpy(&bits, &scaled, 4);
    bits = ((h & 0x7C00u) == 0x7C00u ? bits | 0x7F800000u : bits) | (h & 0x8000u) << 16;
    __builtin_memcpy(&scaled, &bits, 4);
    value[i] = scaled;
  }
  return value;
}

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kBaselineRowProducts);
}  // namespace fettle::cpu
