// A few rows against many for any processor.
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")

namespace fettle::cpu {
namespace {

constexpr int kWidth = 4;
typedef float Vector __attribute__((vector_size(16)));
enum class Bf16 : uint16_t {};
enum class F16 : uint16_t {};

// By halves.
inline float sum_of_lanes(Vector x) {
  return (x[0] + x[2]) + (x[1] + x[3]);
}
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
// As half_to_float of vector_kernels.inc.
inline float from_half(uint32_t h) {
  const uint32_t magnitude = (h & 0x7FFFu) << 13;
  float value;
  __builtin_memcpy(&value, &magnitude, 4);
  value *= 0x1p112f;
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  bits = ((h & 0x7C00u) == 0x7C00u ? bits | 0x7F800000u : bits) | (h & 0x8000u) << 16;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
inline Vector load(const F16* source) {
  Vector value;
  for (int i = 0; i < kWidth; ++i) value[i] = from_half(static_cast<uint32_t>(source[i]));
  return value;
}
inline Vector load(const int8_t* source) {
  Vector value;
  for (int i = 0; i < kWidth; ++i) value[i] = static_cast<float>(source[i]);
  return value;
}

typedef uint32_t Words __attribute__((vector_size(16)));
inline Words load_words(const uint8_t* source) {
  Words value;
  __builtin_memcpy(&value, source, sizeof value);
  return value;
}
inline Words next_codes(Words words) {
  return words >> 4;
}

// What codes stand for.
template <Rounding R>
struct Values {
  float table[16];
  Values(const float* code, float scale, float) {
    for (int i = 0; i < 16; ++i) table[i] = code[i] * scale;
    if (R == Rounding::kBf16) kBaselineKernels.round_bf16(table, 16);
    if (R == Rounding::kF16) kBaselineKernels.round_f16(table, 16);
  }
  Vector of(Words words) const {
    Vector value;
    for (int i = 0; i < kWidth; ++i) value[i] = table[words[i] & 15];
    return value;
  }
};

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kBaselineRowProducts);
}  // namespace fettle::cpu
