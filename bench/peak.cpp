// Peaks of this machine as one line of JSON: what shares and model FLOPs utilisation are measured against.
//   bench_peak
#include <fmt/format.h>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/vector_kernels.h"
#include "roofline.h"

int main() try {
  using namespace fettle;
  fmt::print(
      "{{\"instruction_set\": \"{}\", \"threads\": {}, \"f32_peak\": {:.4g}, \"bf16_peak\": {:.4g}, "
      "\"f32_gemm\": {:.4g}, \"bf16_gemm\": {:.4g}, \"memory_bandwidth\": {:.4g}}}\n",
      cpu::instruction_set(), thread_count(), bench::f32_peak(), bench::bf16_peak(), bench::f32_gemm(),
      bench::bf16_gemm(), bench::bandwidth(1e9));
} catch (const fettle::Error& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return static_cast<int>(error.code());
}
