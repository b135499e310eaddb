// Blocks that a step of OFT or BOFT leaves unturned. What rotations give otherwise is checked against PEFT in
// golden_methods_test.cpp.
#include "fettle/peft/rotations.h"

#include <gtest/gtest.h>

#include <set>

namespace fettle {
namespace {

constexpr int64_t kFactors = 3, kBlocks = 8, kSize = 4;

Tensor some_blocks() {
  Tensor blocks = Tensor::empty({kFactors * kBlocks, kSize, kSize}, DType::kF32);
  for (int64_t i = 0; i < blocks.numel(); ++i) blocks.data<float>()[i] = 2.0f + static_cast<float>(i);
  return blocks;
}

Context context_of(uint64_t step, bool training) {
  return {.backend = &cpu_backend(), .compute = DType::kF32, .training = training, .seed = 5, .step = step};
}

bool is_identity(const Tensor& blocks, int64_t n) {
  for (int64_t i = 0; i < kSize; ++i)
    for (int64_t j = 0; j < kSize; ++j)
      if (blocks.data<float>()[(n * kSize + i) * kSize + j] != (i == j ? 1.0f : 0.0f)) return false;
  return true;
}

std::set<int64_t> dropped(uint64_t step, double share) {
  Context context = context_of(step, true);
  const Tensor before = some_blocks(), after = drop_blocks(context, Var(before), kFactors, share, 9).value;
  std::set<int64_t> which;
  const size_t bytes = kSize * kSize * sizeof(float);
  for (int64_t n = 0; n < after.dim(0); ++n) {
    if (is_identity(after, n))
      which.insert(n);
    else
      EXPECT_EQ(std::memcmp(after.data<float>() + n * kSize * kSize, before.data<float>() + n * kSize * kSize,
                            bytes),
                0);
  }
  return which;
}

TEST(DropBlocks, ReplacesAShareOfOneFactor) {
  std::set<std::set<int64_t>> draws;
  std::set<int64_t> factors;
  for (uint64_t step = 0; step < 30; ++step) {
    std::set<int64_t> which = dropped(step, 0.49);
    ASSERT_EQ(which.size(), 3u) << "int(0.49 * 8)";
    EXPECT_EQ(*which.begin() / kBlocks, *which.rbegin() / kBlocks) << "of one factor";
    EXPECT_EQ(which, dropped(step, 0.49)) << "a recomputed pass drops the same";
    factors.insert(*which.begin() / kBlocks);
    draws.insert(which);
  }
  EXPECT_EQ(factors.size(), 3u);
  EXPECT_GT(draws.size(), 20u);
  EXPECT_TRUE(dropped(1, 0.1).empty()) << "int(0.1 * 8)";
}

TEST(DropBlocks, KeepsAllOutsideTraining) {
  Context context = context_of(1, false);
  const Tensor before = some_blocks(), after = drop_blocks(context, Var(before), kFactors, 0.5, 9).value;
  EXPECT_EQ(std::memcmp(after.raw(), before.raw(), before.nbytes()), 0);
}

TEST(DropBlocks, GivesNoGradientToWhatItDropped) {
  Parameter blocks("blocks", {kFactors * kBlocks, kSize, kSize});
  blocks.value = some_blocks();
  blocks.trainable = true;
  Tape tape;
  Context context = context_of(3, true);
  context.tape = &tape;
  Var y = drop_blocks(context, leaf(context, blocks), kFactors, 0.5, 9);
  Tensor ones = Tensor::empty(y.value.shape(), DType::kF32);
  cpu_backend().fill(ones, 1.0);
  y.slot->accumulate(cpu_backend(), ones);
  tape.backward();
  for (int64_t n = 0; n < kFactors * kBlocks; ++n)
    for (int64_t i = 0; i < kSize * kSize; ++i)
      EXPECT_EQ(blocks.gradient_buffer().data<float>()[n * kSize * kSize + i],
                is_identity(y.value, n) ? 0.0f : 1.0f);
}

}  // namespace
}  // namespace fettle
