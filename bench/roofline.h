// What this machine could do at best, measured in this process on the threads that kernels use: the yardstick
// of every share in the benchmarks.
#pragma once
#include <cstdint>
#include <string>

namespace fettle::bench {

/// Floating-point operations a second of fused multiply-adds whose operands never leave registers: AMX tiles
/// or AVX512-BF16 dot products for bf16 where the CPU has them, else f32.
double f32_peak();
double bf16_peak();
/// The same of the backend's matrix product (oneDNN inside) on operands of a size that suits it: 2048 rows
/// times a weight [4096, 4096].
double f32_gemm();
double bf16_gemm();
/// Bytes a second, the better of a copy (read + written) and a read loop over a working set of `bytes`, which
/// decides whether caches or memory answer. Between 64 KiB and 1 GiB, rounded to a power of two; measured
/// once each.
double bandwidth(double bytes);

}  // namespace fettle::bench
