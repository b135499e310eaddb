// Counter-based random numbers: a value is a function of (seed, stream, index) alone, so masks are recomputed
// rather than stored and a resumed run draws what an unbroken one would have drawn.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace fettle {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a stream of numbers is for; part of the key, so streams never overlap.
enum class RandomUse : uint32_t {
  kInit = 1,
  kDropout = 2,
  kDataOrder = 3,
  kSampling = 4,
  kSynthetic = 5,
  kRounding = 6
};

/// A stream: `site` tells places of one use apart (a module, an epoch), `step` moments in time.
struct RandomKey {
  uint64_t seed = 0;
  RandomUse use = RandomUse::kInit;
  uint32_t site = 0;
  uint64_t step = 0;
  /// Four words for block `index`.
  std::array<uint32_t, 4> block(uint64_t index) const;
};

/// 24-bit uniform in [0, 1).
inline float uniform_from_bits(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

/// Sequential reader of a stream.
class RandomStream {
 public:
  explicit RandomStream(RandomKey key) : key_(key) {}
  uint32_t next_u32();
  uint64_t next_u64() { return (uint64_t{next_u32()} << 32) | next_u32(); }
  float uniform() { return uniform_from_bits(next_u32()); }
  double normal();                 ///< Box–Muller on two 32-bit uniforms
  uint64_t below(uint64_t bound);  ///< uniform in [0, bound), without modulo bias

 private:
  RandomKey key_;
  uint64_t index_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
  bool has_spare_ = false;
  double spare_ = 0;
};

/// Fisher–Yates permutation of 0 … n-1.
std::vector<int64_t> random_permutation(int64_t n, RandomKey key);

}  // namespace fettle
