#include "fettle/data/mixing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "fettle/base/error.h"

namespace fettle {
namespace {

using Order = std::vector<std::pair<size_t, int64_t>>;

// numpy.random.SeedSequence with the default pool of four words.
std::array<uint64_t, 4> seed_sequence(uint64_t seed) {
  constexpr uint32_t kInitA = 0x43b0d7e5, kMultA = 0x931e8875, kInitB = 0x8b51f9dd, kMultB = 0x58f38ded;
  constexpr uint32_t kMixL = 0xca01f9dd, kMixR = 0x4973f715;
  std::vector<uint32_t> entropy = {static_cast<uint32_t>(seed)};
  if (seed >> 32) entropy.push_back(static_cast<uint32_t>(seed >> 32));
  uint32_t hash = kInitA;
  auto hashed = [&](uint32_t value) {
    value ^= hash;
    hash *= kMultA;
    value *= hash;
    return value ^ value >> 16;
  };
  auto mix = [](uint32_t x, uint32_t y) {
    uint32_t result = kMixL * x - kMixR * y;
    return result ^ result >> 16;
  };
  std::array<uint32_t, 4> pool;
  for (size_t i = 0; i < 4; ++i) pool[i] = hashed(i < entropy.size() ? entropy[i] : 0);
  for (size_t source = 0; source < 4; ++source)
    for (size_t target = 0; target < 4; ++target)
      if (source != target) pool[target] = mix(pool[target], hashed(pool[source]));
  std::array<uint32_t, 8> words;
  hash = kInitB;
  for (size_t i = 0; i < 8; ++i) {
    uint32_t value = pool[i % 4] ^ hash;
    hash *= kMultB;
    value *= hash;
    words[i] = value ^ value >> 16;
  }
  std::array<uint64_t, 4> out;
  for (size_t i = 0; i < 4; ++i) out[i] = words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
  return out;
}

constexpr unsigned __int128 kMultiplier =
    static_cast<unsigned __int128>(2549297995355413924ull) << 64 | 4865540595714422341ull;

Order drawn(std::span<const int64_t> sizes, MixStrategy strategy, std::span<const double> probabilities,
            uint64_t seed) {
  std::vector<double> cumulative(probabilities.size());
  std::partial_sum(probabilities.begin(), probabilities.end(), cumulative.begin());
  double sum = cumulative.back();
  if (!std::isfinite(sum)) fail_usage("interleave_probs: the shares add up to {}, expected a number", sum);
  for (double& value : cumulative) value /= sum;
  NumpyGenerator generator(seed);
  std::vector<int64_t> at(sizes.size(), 0);
  std::vector<bool> exhausted(sizes.size(), false);
  int64_t left = static_cast<int64_t>(sizes.size());
  int64_t all = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  int64_t draws = 0, most_draws = std::max<int64_t>(all * 1000, 100'000);
  Order order;
  while (strategy == MixStrategy::kInterleaveUnder ? left == static_cast<int64_t>(sizes.size()) : left > 0) {
    size_t set = static_cast<size_t>(
        std::upper_bound(cumulative.begin(), cumulative.end(), generator.uniform()) - cumulative.begin());
    if (++draws > most_draws)
      fail_usage("interleave_probs: the smallest share is too small to use up its data set within {} draws",
                 most_draws);
    if (strategy == MixStrategy::kInterleaveOnce && exhausted[set]) continue;
    order.emplace_back(set, at[set]);
    if (++at[set] < sizes[set]) continue;
    left -= !exhausted[set];
    exhausted[set] = true;
    at[set] = 0;
  }
  return order;
}

}  // namespace

NumpyGenerator::NumpyGenerator(uint64_t seed) {
  std::array<uint64_t, 4> words = seed_sequence(seed);
  using Wide = unsigned __int128;
  Wide start = static_cast<Wide>(words[0]) << 64 | words[1];
  increment_ = (static_cast<Wide>(words[2]) << 64 | words[3]) << 1 | 1;
  state_ = 0;
  next();
  state_ += start;
  next();
}

uint64_t NumpyGenerator::next() {
  state_ = state_ * kMultiplier + increment_;
  uint64_t folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  int turn = static_cast<int>(state_ >> 122);
  return folded >> turn | folded << (-turn & 63);
}

// The low half first; the high half waits for the next call.
uint32_t NumpyGenerator::next_half() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  uint64_t word = next();
  has_half_ = true;
  half_ = static_cast<uint32_t>(word >> 32);
  return static_cast<uint32_t>(word);
}

std::vector<int64_t> NumpyGenerator::permutation(int64_t n) {
  FETTLE_CHECK(n >= 0 && n <= int64_t{INT32_MAX}, "a permutation of {} rows", n);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) {
    // random_interval(): bits under a mask until they fit.
    uint32_t mask = std::bit_ceil(static_cast<uint32_t>(i) + 1) - 1, j;
    while ((j = next_half() & mask) > static_cast<uint32_t>(i)) {
    }
    std::swap(order[static_cast<size_t>(i)], order[j]);
  }
  return order;
}

MixStrategy parse_mix_strategy(const std::string& name) {
  if (name == "concat") return MixStrategy::kConcat;
  if (name == "interleave_under") return MixStrategy::kInterleaveUnder;
  if (name == "interleave_over") return MixStrategy::kInterleaveOver;
  if (name == "interleave_once") return MixStrategy::kInterleaveOnce;
  fail_usage("mix_strategy: {}, expected concat, interleave_under, interleave_over or interleave_once",
             printable(name));
}

Order mix_order(std::span<const int64_t> sizes, MixStrategy strategy, std::span<const double> probabilities,
                uint64_t seed) {
  Order order;
  if (strategy != MixStrategy::kConcat && !probabilities.empty()) {
    if (probabilities.size() != sizes.size())
      fail_usage("interleave_probs: {} shares for {} data sets", probabilities.size(), sizes.size());
    for (double share : probabilities)
      if (!(share > 0)) fail_usage("interleave_probs: {}, expected shares above 0", share);
    return drawn(sizes, strategy, probabilities, seed);
  }
  if (strategy == MixStrategy::kConcat) {
    for (size_t set = 0; set < sizes.size(); ++set)
      for (int64_t row = 0; row < sizes[set]; ++row) order.emplace_back(set, row);
    return order;
  }
  auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  int64_t rounds = strategy == MixStrategy::kInterleaveUnder ? *least : *most;
  for (int64_t row = 0; row < rounds; ++row)
    for (size_t set = 0; set < sizes.size(); ++set) {
      if (strategy == MixStrategy::kInterleaveOnce && row >= sizes[set]) continue;
      order.emplace_back(set, row % sizes[set]);
    }
  return order;
}

}  // namespace fettle
