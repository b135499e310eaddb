#include "fettle/base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace fettle {
namespace {

class ThreadsTest : public ::testing::Test {
 protected:
  ~ThreadsTest() override { set_thread_count(threads_); }
  int threads_ = thread_count();
};

// Every chunk once, for jobs of any size, more threads than cores, and counts that rise and fall.
TEST_F(ThreadsTest, EveryChunkRunsOnce) {
  for (int threads : {1, 4, 2, 7, 1, 3}) {
    set_thread_count(threads);
    EXPECT_EQ(thread_count(), threads);
    for (int64_t chunks : {0, 1, 2, 3, 50, 1000}) {
      std::vector<int> calls(static_cast<size_t>(chunks));
      parallel_for(chunks, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(chunks), 1)) << threads << " threads";
    }
  }
}

// What one job wrote is seen by the next, whichever threads ran them, at the pace of the ops of a pass.
TEST_F(ThreadsTest, JobsFollowEachOther) {
  set_thread_count(3);
  std::vector<int64_t> values(5), next(5);
  for (int round = 0; round < 20000; ++round) {
    parallel_for(
        5, [&](int64_t i) { next[static_cast<size_t>(i)] = values[static_cast<size_t>((i + 1) % 5)] + 1; });
    std::swap(values, next);
  }
  EXPECT_EQ(values, std::vector<int64_t>(5, 20000));
}

TEST_F(ThreadsTest, NestedLoopsAreSerial) {
  set_thread_count(3);
  std::atomic<int> total = 0, elsewhere = 0;
  parallel_for(7, [&](int64_t) {
    const auto here = std::this_thread::get_id();
    parallel_for(9, [&](int64_t) {
      ++total;
      if (std::this_thread::get_id() != here) ++elsewhere;
    });
  });
  EXPECT_EQ(total, 63);
  EXPECT_EQ(elsewhere, 0);
}

TEST_F(ThreadsTest, AnExceptionComesOutAfterAllHaveEnded) {
  set_thread_count(3);
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> ended = 0;
    try {
      parallel_for(20, [&](int64_t i) {
        if (i % 5 == 3) throw std::runtime_error("chunk");
        ++ended;
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "chunk");
    }
    EXPECT_EQ(ended, 16);
  }
  int after = 0;
  parallel_for(1, [&](int64_t) { ++after; });
  EXPECT_EQ(after, 1);
}

// Threads of the program may start jobs at the same time.
TEST_F(ThreadsTest, SeveralCallersAtOnce) {
  set_thread_count(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> total = 0;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) parallel_for(10, [&](int64_t i) { total += i; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 45);
}

}  // namespace
}  // namespace fettle
