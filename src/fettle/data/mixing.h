// How several data sets become one.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fettle {

/// LLaMA-Factory's mix_strategy.
enum class MixStrategy {
  kConcat,           ///< one after another
  kInterleaveUnder,  ///< in turn, until the first one is used up
  kInterleaveOver,   ///< in turn, until every one is used up; those that end early start again
  kInterleaveOnce,   ///< in turn, each row once; those that end early drop out
};
/// Error(kUsage) with what is known.
MixStrategy parse_mix_strategy(const std::string& name);

/// (data set, row) in the order in which they are trained before shuffling: the order of
/// datasets.interleave_datasets. With `probabilities` (one for each set, more than 0) each next row comes
/// from a set drawn by NumPy's default_rng(seed), as there.
std::vector<std::pair<size_t, int64_t>> mix_order(std::span<const int64_t> sizes, MixStrategy strategy,
                                                  std::span<const double> probabilities, uint64_t seed);

/// PCG64 seeded as numpy.random.default_rng(seed) is (O'Neill's PCG XSL-RR 128/64 and her seed_seq).
class NumpyGenerator {
 public:
  explicit NumpyGenerator(uint64_t seed);
  uint64_t next();
  /// [0, 1) with 53 bits, as Generator.random().
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Generator.permutation(n).
  std::vector<int64_t> permutation(int64_t n);

 private:
  uint32_t next_half();
  unsigned __int128 state_, increment_;
  uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace fettle
