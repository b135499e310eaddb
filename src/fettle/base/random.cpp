#include "fettle/base/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace fettle {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

std::array<uint32_t, 4> RandomKey::block(uint64_t index) const {
  // Counter: 40 bits of block index, 32 of step's low half, 32 of site, the rest use and step's high bits.
  // The seed is the key. Distinct (use, site, step, index) give distinct counters for step < 2^52 and index <
  // 2^40.
  std::array<uint32_t, 4> counter = {static_cast<uint32_t>(index), static_cast<uint32_t>(step), site,
                                     static_cast<uint32_t>(use) << 28 |
                                         static_cast<uint32_t>((step >> 32) & 0xFFFFF) << 8 |
                                         static_cast<uint32_t>((index >> 32) & 0xFF)};
  std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  return philox4x32(counter, key);
}

uint32_t RandomStream::next_u32() {
  if (used_ == 4) {
    words_ = key_.block(index_++);
    used_ = 0;
  }
  return words_[used_++];
}

double RandomStream::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  // (0, 1] keeps the logarithm finite.
  double u1 = (static_cast<double>(next_u32()) + 1.0) * 0x1p-32,
         u2 = static_cast<double>(next_u32()) * 0x1p-32;
  double radius = std::sqrt(-2.0 * std::log(u1)), angle = 2.0 * std::numbers::pi * u2;
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

uint64_t RandomStream::below(uint64_t bound) {
  uint64_t limit = UINT64_MAX - UINT64_MAX % bound, value;
  do value = next_u64();
  while (value >= limit);
  return value % bound;
}

std::vector<int64_t> random_permutation(int64_t n, RandomKey key) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  RandomStream stream(key);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[stream.below(static_cast<uint64_t>(i) + 1)]);
  return order;
}

}  // namespace fettle
