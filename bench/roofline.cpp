#include "roofline.h"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <map>
#include <numeric>
#include <string_view>
#include <vector>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/vector_kernels.h"

namespace fettle::bench {
namespace {

// The best of many short runs: what the machine can, not what it does beside others.
template <typename Run>
double best_rate(double work, const Run& run) {
  using Clock = std::chrono::steady_clock;
  auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  run();
  double best = 1e30;
  const auto start = Clock::now();
  for (int runs = 0; runs < 5 || seconds(start) < 0.2; ++runs) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, seconds(begin));
  }
  return work / best;
}

volatile float kept;  // what a loop computes is used, so it is not removed

// Sums that do not depend on each other hide the latency of a multiply-add: at most 24 of 32 registers.
__attribute__((target("avx512f"))) void multiply_add_avx512(int64_t rounds) {
  __m512 sums[24];
  for (int i = 0; i < 24; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(1.0001f), b = _mm512_set1_ps(0.9999f);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
  for (int i = 1; i < 24; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  kept = _mm512_cvtss_f32(sums[0]);
}

__attribute__((target("avx2,fma"))) void multiply_add_avx2(int64_t rounds) {
  __m256 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(1.0001f), b = _mm256_set1_ps(0.9999f);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
  for (int i = 1; i < 12; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  kept = _mm256_cvtss_f32(sums[0]);
}

void multiply_add_baseline(int64_t rounds) {
  __m128 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm_set1_ps(static_cast<float>(i));
  const __m128 a = _mm_set1_ps(1.0001f), b = _mm_set1_ps(0.9999f);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = _mm_add_ps(_mm_mul_ps(a, b), sums[i]);
  for (int i = 1; i < 12; ++i) sums[0] = _mm_add_ps(sums[0], sums[i]);
  kept = _mm_cvtss_f32(sums[0]);
}

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16(int64_t rounds) {
  __m512 sums[24];
  for (int i = 0; i < 24; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.5f), _mm512_set1_ps(0.5f)),
                 b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.75f), _mm512_set1_ps(1.25f));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  for (int i = 1; i < 24; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  kept = _mm512_cvtss_f32(sums[0]);
}

// Eight tiles of 16 rows of 64 bytes: four sums, two tiles of each operand, with values that are not zero.
__attribute__((target("amx-tile,amx-bf16"))) void tiles_bf16(int64_t rounds) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shape;
  static_assert(sizeof(shape) == 64);
  alignas(64) uint16_t values[16 * 32];
  for (int i = 0; i < 16 * 32; ++i) values[i] = static_cast<uint16_t>(0x3F00 + i * 37 % 0x100);
  alignas(64) float sums[16 * 16];
  _tile_loadconfig(&shape);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values, 64);
  _tile_loadd(5, values, 64);
  _tile_loadd(6, values, 64);
  _tile_loadd(7, values, 64);
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  _tile_release();
  kept = sums[0];
}

// Linux gives a process its tiles only when it asks (arch_prctl ARCH_REQ_XCOMP_PERM, XTILEDATA).
bool tiles_allowed() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  static const bool allowed = ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
}

// Every thread at its own best: none waits for another, so a busy machine still shows what its cores can.
double peak(void (*loop)(int64_t), double flops_a_round) {
  constexpr int64_t kRounds = 100'000;
  std::vector<double> rates(static_cast<size_t>(thread_count()));
  parallel_for(thread_count(), [&](int64_t t) {
    rates[static_cast<size_t>(t)] = best_rate(flops_a_round * kRounds, [&] { loop(kRounds); });
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

double gemm(DType dtype) {
  constexpr int64_t kRows = 2048, kSide = 4096;
  Tensor x = Tensor::empty({kRows, kSide}, dtype), w = Tensor::empty({kSide, kSide}, dtype),
         y = Tensor::empty({kRows, kSide}, dtype);
  Tensor values = Tensor::empty({kSide}, DType::kF32), row = Tensor::empty({kSide}, dtype);
  RandomStream random(RandomKey{.seed = 1, .use = RandomUse::kSynthetic});
  for (float& value : values.span<float>()) value = static_cast<float>(random.normal());
  cpu_backend().convert(values, row);
  for (Tensor* t : {&x, &w})
    for (int64_t r = 0; r < t->rows(); ++r) {
      Tensor target = t->rows_view(r, r + 1);
      target.assign(row.raw(), row.nbytes());
    }
  return best_rate(2.0 * kRows * kSide * kSide, [&] {
    cpu_backend().matmul({.a = &x, .b = &w, .out = &y, .transpose_b = true, .compute = dtype});
  });
}

__attribute__((target_clones("avx512f", "avx2", "default"))) uint64_t sum_words(const uint64_t* words,
                                                                                int64_t n) {
  uint64_t sums[64] = {};
  for (int64_t i = 0; i + 64 <= n; i += 64)
    for (int j = 0; j < 64; ++j) sums[j] += words[i + j];
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

double measured_bandwidth(int64_t bytes) {
  const int64_t threads = thread_count(), share = bytes / threads / 128 * 128;
  std::vector<std::vector<uint64_t>> memory(static_cast<size_t>(threads));
  std::vector<uint64_t> sums(static_cast<size_t>(threads));
  parallel_for(threads, [&](int64_t t) {  // first touched by the thread that uses it
    memory[static_cast<size_t>(t)].assign(static_cast<size_t>(share / 8), static_cast<uint64_t>(t + 1));
  });
  // A working set of a cache's size takes microseconds: several passes keep the fork and join out of the
  // time.
  const int64_t passes = std::max<int64_t>(1, (int64_t{64} << 20) / bytes);
  const double moved = static_cast<double>(share * threads * passes);
  double copy = best_rate(moved, [&] {
    parallel_for(threads, [&](int64_t t) {
      auto* half = reinterpret_cast<std::byte*>(memory[static_cast<size_t>(t)].data());
      for (int64_t p = 0; p < passes; ++p) {
        std::memcpy(half + share / 2, half, static_cast<size_t>(share / 2));
        asm volatile("" ::: "memory");
      }
    });
  });
  double read = best_rate(moved, [&] {
    parallel_for(threads, [&](int64_t t) {
      for (int64_t p = 0; p < passes; ++p) {
        sums[static_cast<size_t>(t)] += sum_words(memory[static_cast<size_t>(t)].data(), share / 8);
        asm volatile("" ::: "memory");
      }
    });
  });
  kept = static_cast<float>(sums[0]);
  return std::max(copy, read);
}

bool uses(std::string_view name) {
  return cpu::instruction_set() == name;
}

}  // namespace

double f32_peak() {
  // A multiply-add is two operations for each of 16, 8 or 4 lanes.
  static const double flops = uses("baseline") ? peak(multiply_add_baseline, 12 * 4 * 2)
                              : uses("avx2")   ? peak(multiply_add_avx2, 12 * 8 * 2)
                                               : peak(multiply_add_avx512, 24 * 16 * 2);
  return flops;
}

double bf16_peak() {
  if (!cpu::native_bf16()) return f32_peak();
  // A tile product is 16 x 16 sums of 32 multiply-adds; a dot product 16 sums of two.
  static const double flops = uses("amx") && tiles_allowed() ? peak(tiles_bf16, 4 * 16 * 16 * 32 * 2)
                                                             : peak(dot_bf16, 24 * 16 * 2 * 2);
  return flops;
}

double f32_gemm() {
  static const double flops = gemm(DType::kF32);
  return flops;
}

double bf16_gemm() {
  static const double flops = gemm(DType::kBF16);
  return flops;
}

double bandwidth(double bytes) {
  static std::map<int64_t, double> known;
  const auto rounded =
      static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::clamp(bytes, 0x1p16, 0x1p30))));
  auto [found, fresh] = known.try_emplace(rounded, 0.0);
  if (fresh) found->second = measured_bandwidth(rounded);
  return found->second;
}

}  // namespace fettle::bench
