#include "kernels/amx_emulator.h"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "fettle/kernels/cpu/vector_kernels.h"

namespace fettle::test {
namespace {

// Palette 1: eight tiles of 16 rows of 64 bytes; those of a thread.
struct Tiles {
  uint8_t configuration[64];
  alignas(64) uint8_t rows[8][16][64];
  int count_of_rows(int tile) const { return configuration[48 + tile]; }
  int bytes_of_row(int tile) const {
    return configuration[16 + 2 * tile] | configuration[17 + 2 * tile] << 8;
  }
};
thread_local Tiles tiles;
struct sigaction before;

int64_t register_value(const ucontext_t& context, int number) {
  static constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[kOrder[number]];
}

// The operand in memory behind a ModRM byte, and what stands in its index register.
struct Memory {
  uint8_t* address;
  int64_t stride;
  const uint8_t* end;  ///< of the instruction
};
Memory memory_operand(const ucontext_t& context, const uint8_t* modrm, bool index_high, bool base_high) {
  const int mode = *modrm >> 6, rm = *modrm & 7;
  const uint8_t* next = modrm + 1;
  int base = rm | base_high << 3, index = -1, scale = 0;
  if (rm == 4) {
    scale = *next >> 6;
    index = (*next >> 3 & 7) | index_high << 3;
    base = (*next & 7) | base_high << 3;
    ++next;
  }
  int64_t displacement = 0;
  const bool no_base = mode == 0 && (base & 7) == 5;
  if (mode == 1) displacement = static_cast<int8_t>(*next++);
  if (mode == 2 || no_base) {
    int32_t value;
    std::memcpy(&value, next, 4);
    displacement = value;
    next += 4;
  }
  if (no_base) displacement += rm == 5 ? reinterpret_cast<int64_t>(next) : 0;
  const int64_t start = (no_base ? 0 : register_value(context, base)) + displacement;
  return {reinterpret_cast<uint8_t*>(start),
          index == 4 || index < 0 ? 0 : register_value(context, index) << scale, next};
}

float element(const uint8_t* row, int i) {
  uint16_t bits;
  std::memcpy(&bits, row + 2 * i, 2);
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

void multiply_add(int sum, int left, int right) {
  const int pairs = tiles.bytes_of_row(left) / 4;
  for (int m = 0; m < tiles.count_of_rows(sum); ++m)
    for (int n = 0; n < tiles.bytes_of_row(sum) / 4; ++n) {
      float total;
      std::memcpy(&total, tiles.rows[sum][m] + 4 * n, 4);
      for (int k = 0; k < pairs; ++k)
        for (int half = 0; half < 2; ++half)
          total += element(tiles.rows[left][m], 2 * k + half) * element(tiles.rows[right][k], 2 * n + half);
      std::memcpy(tiles.rows[sum][m] + 4 * n, &total, 4);
    }
}

// False: not one of the instructions.
bool emulate(ucontext_t& context) {
  const auto* code = reinterpret_cast<const uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || code[2] & 0x84) return false;  // VEX.128.0F38.W0
  const bool index_high = !(code[1] & 0x40), base_high = !(code[1] & 0x20);
  const int prefix = code[2] & 3, third = ~(code[2] >> 3) & 15;  // 0 none, 1 66, 2 F3, 3 F2
  const uint8_t *modrm = code + 4, *end = modrm + 1;
  const int tile = *modrm >> 3 & 7;
  const bool memory = *modrm >> 6 != 3;
  if (code[3] == 0x49 && memory) {
    const Memory operand = memory_operand(context, modrm, index_high, base_high);
    end = operand.end;
    if (prefix == 0)
      std::memcpy(tiles.configuration, operand.address, 64);  // ldtilecfg
    else
      std::memcpy(operand.address, tiles.configuration, 64);  // sttilecfg
  } else if (code[3] == 0x49) {
    if (prefix == 3)
      std::memset(tiles.rows[tile], 0, sizeof tiles.rows[tile]);  // tilezero
    else
      std::memset(&tiles, 0, sizeof tiles);  // tilerelease
  } else if (code[3] == 0x4B && memory) {
    const Memory operand = memory_operand(context, modrm, index_high, base_high);
    end = operand.end;
    for (int r = 0; r < tiles.count_of_rows(tile); ++r) {
      uint8_t* row = operand.address + r * operand.stride;
      const auto bytes = static_cast<size_t>(tiles.bytes_of_row(tile));
      if (prefix == 2)
        std::memcpy(row, tiles.rows[tile][r], bytes);  // tilestored
      else
        std::memcpy(tiles.rows[tile][r], row, bytes);  // tileloadd, tileloaddt1
    }
  } else if (code[3] == 0x5C && !memory && prefix == 2) {
    multiply_add(tile, *modrm & 7, third);  // tdpbf16ps
  } else {
    return false;
  }
  context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<int64_t>(end);
  return true;
}

void handle(int, siginfo_t*, void* context) {
  if (!emulate(*static_cast<ucontext_t*>(context))) std::abort();
}

}  // namespace

AmxEmulator::AmxEmulator() : emulates_(std::string_view(cpu::instruction_set()) != "amx") {
  if (!emulates_) return;
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGILL, &action, &before);
}
AmxEmulator::~AmxEmulator() {
  if (emulates_) ::sigaction(SIGILL, &before, nullptr);
}

}  // namespace fettle::test
