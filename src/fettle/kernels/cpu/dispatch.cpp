// Which instruction set this process uses.
#include <cpuid.h>
#include <dnnl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "fettle/base/error.h"
#include "fettle/kernels/cpu/bf16_tiles.h"
#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"

namespace fettle::cpu {
namespace {

enum Level { kBaseline, kAvx2, kAvx512, kAvx512Bf16, kAmx };
constexpr std::array<const char*, 5> kNames = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

// Linux gives a process the state of tile registers (component 18) when it asks for it.
bool has_amx_bf16() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Level machine_level() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return kBaseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return kAvx2;
  if (!__builtin_cpu_supports("avx512bf16")) return kAvx512;
  return has_amx_bf16() ? kAmx : kAvx512Bf16;
}

Level chosen_level() {
  Level level = machine_level();
  const char* cap = std::getenv("FETTLE_CPU");
  if (cap && *cap) {
    int wanted = -1;
    for (size_t i = 0; i < kNames.size(); ++i)
      if (std::string_view(kNames[i]) == cap) wanted = static_cast<int>(i);
    if (wanted < 0)
      fail_usage("FETTLE_CPU is \"{}\", expected one of {}", printable(cap), fmt::join(kNames, ", "));
    if (wanted < level) level = static_cast<Level>(wanted);
  }
  constexpr std::array<dnnl_cpu_isa_t, 5> kIsa = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2,
                                                  dnnl_cpu_isa_avx512_core, dnnl_cpu_isa_avx512_core_bf16,
                                                  dnnl_cpu_isa_avx512_core_amx};
  dnnl_set_max_cpu_isa(kIsa[level]);
  return level;
}

Level level() {
  static const Level chosen = chosen_level();
  return chosen;
}

}  // namespace

const VectorKernels& vector_kernels() {
  return level() >= kAvx512 ? kAvx512Kernels : level() >= kAvx2 ? kAvx2Kernels : kBaselineKernels;
}
const RowProducts& row_products() {
  return level() >= kAvx512 ? kAvx512RowProducts : level() >= kAvx2 ? kAvx2RowProducts : kBaselineRowProducts;
}
const RowKernels& row_kernels(DType dtype) {
  FETTLE_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
               "the CPU backend has no arithmetic for {}", dtype_name(dtype));
  const RowKernels* tables = level() >= kAvx512 ? kAvx512Rows : level() >= kAvx2 ? kAvx2Rows : kBaselineRows;
  return tables[dtype == DType::kF32 ? 0 : dtype == DType::kBF16 ? 1 : 2];
}
bool native_bf16() {
  return level() >= kAvx512Bf16;
}
const Bf16Tiles& bf16_tiles() {
  return level() == kAmx ? kAmxTiles : kAvx512Bf16Tiles;
}
const char* instruction_set() {
  return kNames[level()];
}

}  // namespace fettle::cpu
