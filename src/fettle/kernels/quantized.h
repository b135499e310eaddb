// Weights in 4 or 8 bits, in the layouts of bitsandbytes (bitsandbytes/functional.py), and the way back to
// floats.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "fettle/tensor/tensor.h"

namespace fettle {

enum class QuantKind : uint8_t { kNF4, kFP4, kInt8 };
std::string_view quant_kind_name(QuantKind kind);  ///< "nf4", "fp4", "int8"

/// A matrix [rows, cols], quantised.
/// 4 bits (Dettmers et al., QLoRA, arXiv 2305.14314): runs of `blocksize` elements in row-major order, which
/// may span rows, share a scale: w = code[q] * absmax[block]. With `nested` scales are 8-bit codes of the
/// dynamic map, in blocks of 256: absmax[i] = dynamic_map[u8] * nested_absmax[i / 256] + nested_offset. 8
/// bits (LLM.int8, arXiv 2208.07339): w[r, c] = q[r, c] * absmax[r] / 127.
struct QuantizedMatrix {
  QuantKind kind = QuantKind::kNF4;
  int64_t rows = 0, cols = 0;
  int64_t blocksize = 64;
  DType dtype = DType::kBF16;  ///< dequantised values are rounded to it: what the weight was, f32 for 8 bits
  Tensor packed;  ///< u8 [ceil(rows * cols / 2)], the first of two elements in the high half; or i8
  Tensor absmax;  ///< f32 [blocks] or, nested, u8; f32 [rows] for 8 bits
  bool nested = false;
  Tensor nested_absmax;  ///< f32 [ceil(blocks / 256)]
  float nested_offset = 0;

  int64_t numel() const { return rows * cols; }
  int64_t blocks() const { return (numel() + blocksize - 1) / blocksize; }
  uint64_t nbytes() const;
};

/// The 16 values of a 4-bit code.
std::span<const float> quant_code(QuantKind kind);
/// The 256 values of the 8-bit dynamic map (Dettmers, arXiv 1511.04561), falling exponents with growing
/// fractions.
std::span<const float> dynamic_map(bool with_sign = true);
/// A block of values as the nearest codes of the map, a tie to the lower; returns its scale, the largest
/// magnitude.
float quantize_block(const float* values, int64_t count, bool with_sign, uint8_t* codes);
void dequantize_block(const uint8_t* codes, int64_t count, float absmax, bool with_sign, float* values);

/// As bitsandbytes.functional.quantize_4bit: values [rows, cols] of any floating dtype; ties go to the lower
/// code. blocksize: a power of two from 32 to 4096.
std::shared_ptr<QuantizedMatrix> quantize_4bit(const Tensor& values, QuantKind kind, int64_t blocksize,
                                               bool double_quantization);
/// As int8_vectorwise_quant of an f16 weight.
std::shared_ptr<QuantizedMatrix> quantize_8bit(const Tensor& values);

/// Scales of the 4-bit blocks [begin, begin + count), f32.
void block_scales(const QuantizedMatrix& matrix, int64_t begin, int64_t count, float* out);
/// What a row of an 8-bit matrix is multiplied with.
float int8_scale(const QuantizedMatrix& matrix, int64_t row);
/// Elements [begin, begin + count) in row-major order, f32, rounded to `dtype` of the matrix unless the
/// caller rounds to the same dtype anyway.
void dequantize(const QuantizedMatrix& matrix, int64_t begin, int64_t count, float* out, bool rounded = true);
/// The same as bf16: rounded to `dtype` of the matrix, then to bf16.
void dequantize_bf16(const QuantizedMatrix& matrix, int64_t begin, int64_t count, uint16_t* out);
/// All of it, f32 [rows, cols].
Tensor dequantize(const QuantizedMatrix& matrix);

}  // namespace fettle
