// The arena, and rehearsals of memory.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "fettle/base/system.h"
#include "fettle/tensor/arena.h"
#include "fettle/tensor/rehearsal.h"
#include "fettle/tensor/tensor.h"

namespace fettle {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(Arena, JoinsWhatIsFreedAndTakesTheSmallestRunThatHolds) {
  Arena arena(false);
  void *a = arena.allocate(3 * kMiB), *b = arena.allocate(5 * kMiB), *c = arena.allocate(2 * kMiB),
       *d = arena.allocate(kMiB);
  ASSERT_TRUE(a && b && c && d);
  EXPECT_TRUE(arena.contains(d));
  EXPECT_FALSE(arena.contains(&arena));
  arena.release(a, 3 * kMiB);
  arena.release(c, 2 * kMiB);
  EXPECT_EQ(arena.allocate(2 * kMiB), c) << "the run of 2 MiB, not that of 3";
  arena.release(b, 5 * kMiB);
  EXPECT_EQ(arena.allocate(8 * kMiB), a) << "3 and 5 are one run";
  arena.release(d, kMiB);
  EXPECT_EQ(arena.allocate(4 * kMiB), d) << "what is free at the top is the beginning of more";
}

TEST(Arena, BlocksNeverOverlapAndFreePagesGoBack) {
  Arena arena(false);
  struct Block {
    unsigned char* data;
    size_t size;
    unsigned char fill;
  };
  std::vector<Block> live;
  std::mt19937 random(7);
  size_t bytes = 0;
  for (int round = 0; round < 2000; ++round) {
    if (live.size() < 5 || random() % 2) {
      const size_t size = 1 + random() % (300 * 1024);
      auto* data = static_cast<unsigned char*>(arena.allocate(size));
      ASSERT_NE(data, nullptr);
      live.push_back({data, size, static_cast<unsigned char>(round)});
      std::memset(data, live.back().fill, size);
      bytes += size;
    } else {
      std::swap(live[random() % live.size()], live.back());
      const Block block = live.back();
      live.pop_back();
      for (size_t i = 0; i < block.size; i += 997) ASSERT_EQ(block.data[i], block.fill) << "round " << round;
      ASSERT_EQ(block.data[block.size - 1], block.fill);
      arena.release(block.data, block.size);
      bytes -= block.size;
    }
    ASSERT_GE(arena.held(), bytes);
  }
  for (const Block& block : live) arena.release(block.data, block.size);
  arena.trim();
  EXPECT_EQ(arena.held(), 0u);
}

// Tensors of a pass of so many tokens, made and freed as a forward and a backward do.
void pass(int64_t tokens) {
  std::vector<Tensor> kept;
  for (int layer = 0; layer < 8; ++layer) {
    kept.push_back(Tensor::empty({tokens, 256}, DType::kF32));
    Tensor wide = Tensor::empty({tokens, 1024}, DType::kF32),
           more = Tensor::empty({tokens, 1024}, DType::kF32);
  }
  while (!kept.empty()) {
    Tensor gradient = Tensor::empty({tokens, 1024}, DType::kF32);
    kept.pop_back();
  }
}

TEST(HostMemoryOfPasses, OfManyLengthsIsThatOfTheLongest) {
  MemoryRehearsal rehearsal;
  pass(2000);
  const uint64_t longest = held_memory().current;
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) pass(200 + static_cast<int64_t>(random() % 1801));
  EXPECT_LT(held_memory().peak, longest + longest / 4);
}

TEST(MemoryRehearsal, CountsWithoutTakingMemoryAndLeavesNothing) {
  Tensor before = Tensor::from(std::vector<float>{1, 2, 3}, {3});
  const uint64_t resident = resident_bytes(), held = held_memory().current;
  Tensor outlives;
  {
    MemoryRehearsal rehearsal;
    EXPECT_TRUE(rehearses());
    for (MemoryKind kind : {MemoryKind::kActivations, MemoryKind::kGradients}) {
      const uint64_t already = held_memory().current;
      Tensor large = Tensor::zeros({2048, 1024, 256}, DType::kF32, kind);  // 2 GiB
      Tensor narrow = large.to(DType::kBF16);
      EXPECT_NEAR(static_cast<double>(held_memory().current - already), 3221225472.0, 8388608.0);
      EXPECT_GE(rehearsal.live().current, large.nbytes() + narrow.nbytes());
      large.clone();
      large = narrow = Tensor();
      rehearsal.trim();
    }
    outlives = Tensor::empty({1000}, DType::kF32);
    EXPECT_LT(resident_bytes(), resident + 256 * kMiB);
  }
  EXPECT_FALSE(rehearses());
  EXPECT_EQ(held_memory().current, held);
  outlives.data<float>()[999] = 5;
  EXPECT_EQ(before.data<float>()[2], 3);
  EXPECT_EQ(Tensor::zeros({4}, DType::kF32).data<float>()[3], 0);
}

}  // namespace
}  // namespace fettle
