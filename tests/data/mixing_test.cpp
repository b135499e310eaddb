// Joining and splitting data sets against `datasets` 5.2 and NumPy 2.
#include "fettle/data/mixing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/packing.h"
#include "support.h"

namespace fettle {
namespace {

TEST(NumpyGenerator, DrawsWhatNumpyDraws) {
  NumpyGenerator zero(0), answer(42), wide(12345678901234ull);
  EXPECT_EQ(zero.next(), 11749869230777074271ull);
  EXPECT_EQ(zero.next(), 4976686463289251617ull);
  EXPECT_EQ(answer.next(), 14276969152011380360ull);
  EXPECT_EQ(wide.next(), 7496343037614434180ull);
  EXPECT_DOUBLE_EQ(NumpyGenerator(42).uniform(), 0.7739560485559633);
  EXPECT_EQ(NumpyGenerator(42).permutation(12), (std::vector<int64_t>{0, 7, 6, 9, 11, 3, 5, 2, 4, 10, 1, 8}));
}

std::string order(MixStrategy strategy, std::vector<double> probabilities = {}) {
  std::string out;
  std::vector<int64_t> sizes = {3, 5, 2};
  for (auto [set, row] : mix_order(sizes, strategy, probabilities, 42))
    out += fmt::format("{}{}{}", out.empty() ? "" : " ", static_cast<char>('a' + set), row);
  return out;
}

TEST(MixOrder, EqualsInterleaveDatasets) {
  EXPECT_EQ(order(MixStrategy::kConcat), "a0 a1 a2 b0 b1 b2 b3 b4 c0 c1");
  EXPECT_EQ(order(MixStrategy::kInterleaveUnder), "a0 b0 c0 a1 b1 c1");
  EXPECT_EQ(order(MixStrategy::kInterleaveOver), "a0 b0 c0 a1 b1 c1 a2 b2 c0 a0 b3 c1 a1 b4 c0");
  EXPECT_EQ(order(MixStrategy::kInterleaveOnce), "a0 b0 c0 a1 b1 c1 a2 b2 b3 b4");
  std::vector<double> shares = {0.5, 0.3, 0.2};
  EXPECT_EQ(order(MixStrategy::kInterleaveUnder, shares), "b0 a0 c0 b1 a1 c1");
  EXPECT_EQ(order(MixStrategy::kInterleaveOver, shares), "b0 a0 c0 b1 a1 c1 b2 b3 a2 a0 a1 c0 b4");
  EXPECT_EQ(order(MixStrategy::kInterleaveOnce, shares), "b0 a0 c0 b1 a1 c1 b2 b3 a2 b4");
  EXPECT_THROW(order(MixStrategy::kInterleaveUnder, {0.5, 0.5}), Error);
  EXPECT_THROW(order(MixStrategy::kInterleaveUnder, {0.5, 0.5, 0}), Error);
  // Shares that are no shares, and one that is never drawn.
  EXPECT_THROW(order(MixStrategy::kInterleaveUnder, {0.5, 0.5, HUGE_VAL}), Error);
  EXPECT_THROW(order(MixStrategy::kInterleaveUnder, {1e308, 1e308, 1e308}), Error);
  for (MixStrategy strategy : {MixStrategy::kInterleaveOver, MixStrategy::kInterleaveOnce})
    EXPECT_THROW(order(strategy, {1, 1, 1e-300}), Error);
}

Dataset rows(int64_t count) {
  Dataset data;
  for (int64_t i = 0; i < count; ++i) {
    data.examples.append({{static_cast<int32_t>(i), 1}, {kIgnoreLabel, 1}, {}}, std::to_string(i));
  }
  return data;
}

TEST(SplitValidation, TakesTheRowsOfTrainTestSplit) {
  Dataset data = rows(12);
  Dataset validation = split_validation(data, 0.2, 42);
  std::string taken;
  for (size_t row = 0; row < validation.examples.size(); ++row)
    taken += validation.examples.origin(row) + " ";
  EXPECT_EQ(taken, "0 7 6 ");
  EXPECT_EQ(data.examples.size() + validation.examples.size(), 12u);
  Dataset few = rows(3);
  EXPECT_THROW(split_validation(few, 3, 42), Error);
}

TEST(PackBestFit, SamplesShareRowsAndSeeOnlyThemselves) {
  std::vector<Example> examples;
  for (int32_t length : {5, 3, 2, 4})
    examples.push_back({std::vector<int32_t>(static_cast<size_t>(length), length),
                        std::vector<int32_t>(static_cast<size_t>(length), length),
                        {}});
  Examples packed = pack_best_fit(examples, 7);
  ASSERT_EQ(packed.size(), 2u);
  EXPECT_EQ(packed[0].lengths, (std::vector<int32_t>{5, 2}));
  EXPECT_EQ(packed[1].lengths, (std::vector<int32_t>{4, 3}));
  std::vector<int64_t> both = {0, 1}, one_by_one = {0, 2, 3, 1};
  PackedBatch from_rows = pack_examples(packed, both), from_samples = pack_examples(examples, one_by_one);
  EXPECT_EQ(from_rows.ids, from_samples.ids);
  EXPECT_EQ(from_rows.labels, from_samples.labels);
  EXPECT_EQ(from_rows.positions, from_samples.positions);
  EXPECT_EQ(from_rows.cu_seqlens, from_samples.cu_seqlens);
}

}  // namespace
}  // namespace fettle
