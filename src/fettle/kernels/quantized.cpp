#include "fettle/kernels/quantized.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "fettle/base/error.h"
#include "fettle/base/system.h"
#include "fettle/base/threads.h"

namespace fettle {
namespace {

constexpr std::array<float, 16> kNF4 = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};
// Sign, two bits of exponent, one of fraction; in the order of the bit patterns, over the largest.
constexpr std::array<float, 16> kFP4 = {
    0.0f, 0.0625f / 12.0f,  8.0f / 12.0f,  1.0f,  4.0f / 12.0f,  6.0f / 12.0f,  2.0f / 12.0f,  3.0f / 12.0f,
    0.0f, -0.0625f / 12.0f, -8.0f / 12.0f, -1.0f, -4.0f / 12.0f, -6.0f / 12.0f, -2.0f / 12.0f, -3.0f / 12.0f};
constexpr int64_t kNestedBlock = 256;
constexpr float kSmallestScale = 1e-38f;

// Bounds between the values of a code in rising order: an element belongs behind every bound that it exceeds,
// so a tie goes to the lower value. `order` turns that place into the code.
struct Thresholds {
  std::array<float, 15> bounds;
  std::array<uint8_t, 16> order;
};

Thresholds thresholds_of(QuantKind kind) {
  // As bitsandbytes' CPU kernels: FP4's codes in the order of their values, two of which are zero. Its CUDA
  // kernel decides by the size alone, so that zeros have the sign of what they came from.
  Thresholds t{.bounds = {}, .order = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}};
  if (kind == QuantKind::kNF4)
    for (size_t i = 0; i < t.order.size(); ++i) t.order[i] = static_cast<uint8_t>(i);
  const std::array<float, 16>& code = kind == QuantKind::kNF4 ? kNF4 : kFP4;
  for (size_t i = 0; i < t.bounds.size(); ++i) t.bounds[i] = (code[t.order[i]] + code[t.order[i + 1]]) / 2;
  return t;
}

// Places of n values; one bound after the other, so that the loops are vectors.
void find_places(const Thresholds& t, const float* values, int64_t n, int32_t* places) {
  std::fill(places, places + n, 0);
  for (float bound : t.bounds) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) places[i] += values[i] > bound ? 1 : 0;
  }
}

// Over the largest, in [-1, 1]; bitsandbytes multiplies by the inverse in whole blocks and divides in a short
// one.
void scale_block(const float* values, int64_t n, float largest, bool whole, float* out) {
  const float inverse = 1.0f / largest;
  if (!whole) {
    for (int64_t i = 0; i < n; ++i) out[i] = std::clamp(values[i] / largest, -1.0f, 1.0f);
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float x = values[i] * inverse;
    out[i] = x < -1.0f ? -1.0f : x > 1.0f ? 1.0f : x;
  }
}

// fp32 as torch computes it: linspace(0.1, 1, n + 1), midpoints, times a power of ten in double.
std::array<float, 256> make_dynamic_map(bool with_sign) {
  std::vector<float> values;
  for (int i = 0; i < 7; ++i) {
    int n = with_sign ? 1 << i : 2 << i;
    double power = std::pow(10.0, i - 6);
    // torch.linspace goes from both ends to the middle, in f32 with fused multiply-adds.
    std::vector<float> points;
    float step = (1.0f - 0.1f) / static_cast<float>(n);
    for (int k = 0; k <= n; ++k)
      points.push_back(k < (n + 1) / 2 ? std::fma(step, static_cast<float>(k), 0.1f)
                                       : std::fma(-step, static_cast<float>(n - k), 1.0f));
    for (int k = 0; k < n; ++k) {
      float mean = (points[static_cast<size_t>(k)] + points[static_cast<size_t>(k) + 1]) / 2.0f;
      float value = static_cast<float>(power) * mean;
      values.push_back(value);
      if (with_sign) values.push_back(-value);
    }
  }
  values.push_back(0.0f);
  values.push_back(1.0f);
  std::sort(values.begin(), values.end());
  std::array<float, 256> map;
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

// The sum of torch's CPU kernel on one thread, to the last bit (aten/native/cpu/SumKernel.cpp): the offset of
// nested scales depends on it. Each of the lanes of a vector sums in four interleaved rows, each over a
// cascade of four levels.
float sum_as_torch(std::span<const float> values) {
  constexpr size_t kRows = 4, kLevels = 4;
  const size_t lanes = values.size() < 8 ? 1 : 8;
  const size_t vectors = values.size() / lanes, steps = vectors / kRows;
  const size_t power =
      std::max<size_t>(4, static_cast<size_t>(std::bit_width(steps > 1 ? steps - 1 : 0)) / kLevels);
  float total = 0;
  for (size_t i = vectors * lanes; i < values.size(); ++i) total += values[i];
  for (size_t lane = 0; lane < lanes && vectors > 0; ++lane) {
    float rows[kRows];
    for (size_t row = 0; row < kRows; ++row) {
      float level[kLevels] = {};
      size_t i = 0;
      const size_t step = size_t{1} << power;
      while (i + step <= steps) {
        for (size_t end = i + step; i < end; ++i) level[0] += values[(i * kRows + row) * lanes + lane];
        for (size_t j = 1; j < kLevels; ++j) {
          level[j] += level[j - 1];
          level[j - 1] = 0;
          if ((i & ((step - 1) << (j * power))) != 0) break;
        }
      }
      for (; i < steps; ++i) level[0] += values[(i * kRows + row) * lanes + lane];
      for (size_t j = 1; j < kLevels; ++j) level[0] += level[j];
      rows[row] = level[0];
    }
    for (size_t i = steps * kRows; i < vectors; ++i) rows[0] += values[i * lanes + lane];
    for (size_t row = 1; row < kRows; ++row) rows[0] += rows[row];
    total += rows[0];
  }
  return total;
}

struct DynamicCode {
  std::array<float, 256> map;
  std::array<float, 255> bounds;  // between neighbours; a tie goes to the lower one
  explicit DynamicCode(bool with_sign) : map(make_dynamic_map(with_sign)) {
    for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = (map[i] + map[i + 1]) / 2;
  }
};

const DynamicCode& dynamic_code(bool with_sign) {
  static const DynamicCode with(true), without(false);
  return with_sign ? with : without;
}

// Codes of a table of 65536 places, as bitsandbytes' CPU kernel looks them up: near zero and at midpoints
// they differ from the nearest code, which its CUDA kernel finds, for about two values in a thousand.
uint8_t tabled_code(float scaled) {
  static const std::vector<uint8_t> table = [] {
    const DynamicCode& code = dynamic_code(true);
    std::vector<uint8_t> codes(65536);
    for (size_t i = 0; i < codes.size(); ++i) {
      float middle = static_cast<float>(i) / 32767.5f - 1.0f;
      codes[i] = static_cast<uint8_t>(std::lower_bound(code.bounds.begin(), code.bounds.end(), middle) -
                                      code.bounds.begin());
    }
    return codes;
  }();
  return table[static_cast<size_t>((scaled + 1.0f) * 32767.5f + 0.5f)];
}

// The scales of blocks, without their mean, as codes.
void quantize_scales(const std::vector<float>& values, uint8_t* codes, float* absmax) {
  for (size_t begin = 0; begin < values.size(); begin += kNestedBlock) {
    size_t end = std::min(values.size(), begin + static_cast<size_t>(kNestedBlock));
    float largest = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(values[i]));
    absmax[begin / kNestedBlock] = largest;
    for (size_t i = begin; i < end; ++i)
      codes[i] =
          largest == 0 ? uint8_t{0} : tabled_code(std::clamp(values[i] * (1.0f / largest), -1.0f, 1.0f));
  }
}

uint16_t bf16_bits(float value) {
  return std::bit_cast<uint16_t>(bf16(value));
}

void round_to(DType dtype, float* values, int64_t count) {
  if (dtype == DType::kBF16)
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(bf16(values[i]));
  else if (dtype == DType::kF16)
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(f16(values[i]));
}

// Pairs of elements of whole bytes, f32 or the bits of bf16: the first of two in the high half.
template <typename T>
using PairLoop = void (*)(const uint8_t* packed, int64_t bytes, const T* table, T* out);

template <typename T>
void pairs_plain(const uint8_t* packed, int64_t bytes, const T* table, T* out) {
  for (int64_t i = 0; i < bytes; ++i) {
    out[2 * i] = table[packed[i] >> 4];
    out[2 * i + 1] = table[packed[i] & 15];
  }
}

#if defined(__x86_64__)
// 16 indices, in order, of 8 bytes.
__attribute__((target("avx2"))) inline __m128i indices_of(const uint8_t* packed) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed)), half = _mm_set1_epi8(15);
  return _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), half), _mm_and_si128(bytes, half));
}

// The table is one register.
__attribute__((target("avx512f,avx2"))) void pairs_avx512(const uint8_t* packed, int64_t bytes,
                                                          const float* table, float* out) {
  const __m512 values = _mm512_loadu_ps(table);
  int64_t i = 0;
  for (; i + 8 <= bytes; i += 8)
    _mm512_storeu_ps(out + 2 * i,
                     _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(indices_of(packed + i)), values));
  pairs_plain(packed + i, bytes - i, table, out + 2 * i);
}

// The table is two registers; the fourth bit of an index says which.
__attribute__((target("avx2"))) void pairs_avx2(const uint8_t* packed, int64_t bytes, const float* table,
                                                float* out) {
  const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
  int64_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const __m128i indices = indices_of(packed + i);
    for (int part = 0; part < 2; ++part) {
      const __m256i index = _mm256_cvtepu8_epi32(part == 0 ? indices : _mm_srli_si128(indices, 8));
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
      _mm256_storeu_ps(out + 2 * i + 8 * part,
                       _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                                        _mm256_permutevar8x32_ps(high, index), upper));
    }
  }
  pairs_plain(packed + i, bytes - i, table, out + 2 * i);
}

// 32 elements at a time: a permutation of words looks all of them up.
__attribute__((target("avx512f,avx512bw,avx512vl"))) void pairs_avx512_bf16(const uint8_t* packed,
                                                                            int64_t bytes,
                                                                            const uint16_t* table,
                                                                            uint16_t* out) {
  const __m512i values = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(table)));
  const __m128i half = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + i));
    const __m128i first = _mm_and_si128(_mm_srli_epi16(codes, 4), half), second = _mm_and_si128(codes, half);
    const __m256i indices =
        _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
    _mm512_storeu_si512(out + 2 * i, _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(indices), values));
  }
  pairs_plain(packed + i, bytes - i, table, out + 2 * i);
}
#endif

template <typename T>
PairLoop<T> pair_loop() {
#if defined(__x86_64__)
  static const PairLoop<T> loop = []() -> PairLoop<T> {
    const CpuFeatures features = cpu_info().features;
    if constexpr (std::is_same_v<T, uint16_t>)
      return features.avx512 ? pairs_avx512_bf16 : pairs_plain<T>;
    else
      return features.avx512 ? pairs_avx512 : features.avx2 ? pairs_avx2 : pairs_plain<T>;
  }();
  return loop;
#else
  return pairs_plain<T>;
#endif
}

// Elements of a 4-bit matrix; `entry`: what the product of code and scale becomes.
template <typename T, typename Entry>
void look_up(const QuantizedMatrix& m, int64_t begin, int64_t count, T* out, Entry entry) {
  const float* code = quant_code(m.kind).data();
  const uint8_t* packed = m.packed.data<uint8_t>();
  for (int64_t i = begin, end = begin + count; i < end;) {
    const int64_t block = i / m.blocksize, stop = std::min(end, (block + 1) * m.blocksize);
    float scale;
    block_scales(m, block, 1, &scale);
    T table[16];
    for (int k = 0; k < 16; ++k) table[k] = entry(code[k] * scale);
    if (i % 2 != 0) *out++ = table[packed[i++ / 2] & 15];
    const int64_t bytes = (stop - i) / 2;
    pair_loop<T>()(packed + i / 2, bytes, table, out);
    i += 2 * bytes;
    out += 2 * bytes;
    if (i < stop) *out++ = table[packed[i++ / 2] >> 4];
  }
}

}  // namespace

std::string_view quant_kind_name(QuantKind kind) {
  return kind == QuantKind::kNF4 ? "nf4" : kind == QuantKind::kFP4 ? "fp4" : "int8";
}

uint64_t QuantizedMatrix::nbytes() const {
  return packed.nbytes() + absmax.nbytes() + (nested ? nested_absmax.nbytes() : 0);
}

std::span<const float> quant_code(QuantKind kind) {
  return kind == QuantKind::kFP4 ? std::span<const float>(kFP4) : std::span<const float>(kNF4);
}

std::span<const float> dynamic_map(bool with_sign) {
  return dynamic_code(with_sign).map;
}

float quantize_block(const float* values, int64_t count, bool with_sign, uint8_t* codes) {
  const DynamicCode& code = dynamic_code(with_sign);
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  if (largest == 0) {
    std::fill(codes, codes + count, uint8_t{0});
    return 0;
  }
  float inverse = 1.0f / std::max(largest, kSmallestScale);
  for (int64_t i = 0; i < count; ++i) {
    float scaled = std::clamp(values[i] * inverse, -1.0f, 1.0f);
    codes[i] = static_cast<uint8_t>(std::lower_bound(code.bounds.begin(), code.bounds.end(), scaled) -
                                    code.bounds.begin());
  }
  return largest;
}

void dequantize_block(const uint8_t* codes, int64_t count, float absmax, bool with_sign, float* values) {
  const std::array<float, 256>& map = dynamic_code(with_sign).map;
  for (int64_t i = 0; i < count; ++i) values[i] = map[codes[i]] * absmax;
}

std::shared_ptr<QuantizedMatrix> quantize_4bit(const Tensor& values, QuantKind kind, int64_t blocksize,
                                               bool double_quantization) {
  FETTLE_CHECK(blocksize >= 32 && blocksize <= 4096 && (blocksize & (blocksize - 1)) == 0, "blocksize {}",
               blocksize);
  auto m = std::make_shared<QuantizedMatrix>();
  m->kind = kind;
  m->rows = values.rows();
  m->cols = values.cols();
  m->blocksize = blocksize;
  m->dtype = values.dtype();
  const int64_t n = m->numel(), blocks = m->blocks();
  m->packed = Tensor::zeros({(n + 1) / 2}, DType::kU8, MemoryKind::kWeights);
  std::vector<float> absmax(static_cast<size_t>(blocks));
  uint8_t* packed = m->packed.data<uint8_t>();
  // Blocks are even, so no byte belongs to two of them. Many blocks a chunk keep conversions long.
  constexpr int64_t kChunk = 1 << 16;
  const int64_t per_chunk = std::max<int64_t>(1, kChunk / blocksize);
  Tensor flat = values.reshape({n});
  const Thresholds thresholds = thresholds_of(kind);
  parallel_for((blocks + per_chunk - 1) / per_chunk, [&](int64_t chunk) {
    int64_t first = chunk * per_chunk, last = std::min(blocks, first + per_chunk);
    Tensor part = flat.rows_view(first * blocksize, std::min(n, last * blocksize))
                      .to(DType::kF32, MemoryKind::kWorkspace);
    const float* x = part.data<float>();
    std::vector<float> scaled(static_cast<size_t>(blocksize));
    std::vector<int32_t> places(static_cast<size_t>(blocksize));
    for (int64_t b = first; b < last; ++b) {
      int64_t begin = b * blocksize, count = std::min(blocksize, n - begin);
      const float* run = x + (begin - first * blocksize);
      float largest = 0;
#pragma omp simd reduction(max : largest)
      for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(run[i]));
      const bool whole = count == blocksize;
      const float guarded = std::max(largest, kSmallestScale);
      absmax[static_cast<size_t>(b)] = whole ? largest : guarded;
      scale_block(run, count, guarded, whole, scaled.data());
      find_places(thresholds, scaled.data(), count, places.data());
      for (int64_t i = 0; i < count; i += 2) {
        int q = thresholds.order[static_cast<size_t>(places[static_cast<size_t>(i)])] << 4;
        if (i + 1 < count) q |= thresholds.order[static_cast<size_t>(places[static_cast<size_t>(i) + 1])];
        packed[(begin + i) / 2] = static_cast<uint8_t>(q);
      }
    }
  });
  // An odd last half byte holds the code of zero, as padding with zero gives.
  if (n % 2 != 0) {
    const float zero = 0;
    int32_t place = 0;
    find_places(thresholds, &zero, 1, &place);
    packed[n / 2] |= thresholds.order[static_cast<size_t>(place)];
  }
  if (!double_quantization) {
    m->absmax = Tensor::from(absmax, {blocks}, MemoryKind::kWeights);
    return m;
  }
  m->nested = true;
  m->nested_offset = sum_as_torch(absmax) / static_cast<float>(blocks);
  for (float& a : absmax) a -= m->nested_offset;
  m->absmax = Tensor::empty({blocks}, DType::kU8, MemoryKind::kWeights);
  m->nested_absmax =
      Tensor::empty({(blocks + kNestedBlock - 1) / kNestedBlock}, DType::kF32, MemoryKind::kWeights);
  quantize_scales(absmax, m->absmax.data<uint8_t>(), m->nested_absmax.data<float>());
  return m;
}

std::shared_ptr<QuantizedMatrix> quantize_8bit(const Tensor& values) {
  auto m = std::make_shared<QuantizedMatrix>();
  m->kind = QuantKind::kInt8;
  m->rows = values.rows();
  m->cols = values.cols();
  m->dtype = DType::kF32;
  m->packed = Tensor::empty({m->rows, m->cols}, DType::kI8, MemoryKind::kWeights);
  m->absmax = Tensor::empty({m->rows}, DType::kF32, MemoryKind::kWeights);
  parallel_for(m->rows, [&](int64_t r) {
    Tensor row = values.rows_view(r, r + 1)
                     .to(DType::kF16, MemoryKind::kWorkspace)
                     .to(DType::kF32, MemoryKind::kWorkspace);
    const float* x = row.data<float>();
    float largest = 0;
    for (int64_t c = 0; c < m->cols; ++c) largest = std::max(largest, std::abs(x[c]));
    m->absmax.data<float>()[r] = largest;
    float factor = largest > 0 ? 1.0f / largest * 127.0f : 0.0f;  // torch's 127 / tensor
    int8_t* q = m->packed.data<int8_t>() + r * m->cols;
    for (int64_t c = 0; c < m->cols; ++c) q[c] = static_cast<int8_t>(std::nearbyint(x[c] * factor));
  });
  return m;
}

float int8_scale(const QuantizedMatrix& m, int64_t row) {
  return m.absmax.data<float>()[row] * 7.874015718698502e-3f;  // 1 / 127
}

void block_scales(const QuantizedMatrix& m, int64_t begin, int64_t count, float* out) {
  if (!m.nested) {
    std::copy_n(m.absmax.data<float>() + begin, count, out);
    return;
  }
  const float* map = dynamic_map().data();
  const uint8_t* codes = m.absmax.data<uint8_t>();
  for (int64_t i = begin, end = begin + count; i < end;) {
    const int64_t stop = std::min(end, (i / kNestedBlock + 1) * kNestedBlock);
    const float scale = m.nested_absmax.data<float>()[i / kNestedBlock];
    for (; i < stop; ++i) *out++ = map[codes[i]] * scale + m.nested_offset;
  }
}

void dequantize(const QuantizedMatrix& m, int64_t begin, int64_t count, float* out, bool rounded) {
  const int64_t end = begin + count;
  if (m.kind == QuantKind::kInt8) {
    const int8_t* q = m.packed.data<int8_t>();
    for (int64_t i = begin; i < end;) {
      int64_t row = i / m.cols, stop = std::min(end, (row + 1) * m.cols);
      float scale = int8_scale(m, row);
      float* target = out + (i - begin);
      for (int64_t k = 0; k < stop - i; ++k) target[k] = static_cast<float>(q[i + k]) * scale;
      i = stop;
    }
  } else {
    look_up(m, begin, count, out, [](float value) { return value; });
  }
  if (rounded) round_to(m.dtype, out, count);
}

void dequantize_bf16(const QuantizedMatrix& m, int64_t begin, int64_t count, uint16_t* out) {
  constexpr int64_t kChunk = 1024;
  const int64_t end = begin + count;
  if (m.kind == QuantKind::kInt8) {
    float values[kChunk];
    for (int64_t i = begin; i < end; i += kChunk) {
      const int64_t n = std::min(kChunk, end - i);
      dequantize(m, i, n, values);
      for (int64_t j = 0; j < n; ++j) out[i - begin + j] = bf16_bits(values[j]);
    }
    return;
  }
  look_up(m, begin, count, out, [&](float value) {
    if (m.dtype == DType::kF16) round_to(DType::kF16, &value, 1);
    return bf16_bits(value);
  });
}

Tensor dequantize(const QuantizedMatrix& m) {
  Tensor out = Tensor::empty({m.rows, m.cols}, DType::kF32, MemoryKind::kWorkspace);
  parallel_for(m.rows, [&](int64_t r) { dequantize(m, r * m.cols, m.cols, out.data<float>() + r * m.cols); });
  return out;
}

}  // namespace fettle
