// Memory that is not there: allocations that fail, limits that are too low.
#include <gmock/gmock.h>

#include <regex>

#include "faults/process.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::FaultResult;
using ::testing::HasSubstr;

class MemoryFaults : public ::testing::Test {
 protected:
  fs::path run() const { return folder_ / "run"; }
  FaultResult train(long at, long from_bytes, bool lasting, const std::vector<std::string>& more = {}) {
    fs::remove_all(run());
    Fault fault;
    fault.lasting = lasting;
    fault.more = {fmt::format("FAULT_MEMORY={}", at), fmt::format("FAULT_MEMORY_FROM={}", from_bytes)};
    return test::run_with_fault(test::quickstart_run(run(), more), fault);
  }
  // Whatever was saved before is whole, and the run goes on from it.
  void expect_checkpoints_whole() {
    if (!fs::exists(run())) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(run()))
      if (checkpoint_step(entry.path())) EXPECT_EQ(checkpoint_problem(entry.path()), "") << entry.path();
  }
  test::TempDir folder_;
};

// R07
TEST_F(MemoryFaults, EveryAllocationMayFail) {
  struct Way {
    long from_bytes;
    bool lasting;
    long few;
  };
  for (const Way& way : {Way{1, false, 10}, {1, true, 12}, {1 << 16, false, 6}, {1 << 16, true, 8}}) {
    const long count = train(1L << 40, way.from_bytes, false).allocations;
    ASSERT_GT(count, way.few);
    const long stride = test::try_all_faults() ? std::max(1L, count / 2000) : std::max(1L, count / way.few);
    for (long n = 1 + stride / 2; n <= count; n += stride) {
      SCOPED_TRACE(fmt::format("allocation {} of {} from {} bytes up{}", n, count, way.from_bytes,
                               way.lasting ? ", and all after it" : ""));
      FaultResult result = train(n, way.from_bytes, way.lasting);
      // A save that found no memory is tried again, so a run may end well.
      ASSERT_TRUE(result.code == 0 || result.code == 4) << result.code << "\n" << result.err;
      if (result.code == 4) EXPECT_THAT(result.err, ::testing::AnyOf(HasSubstr("memory"), HasSubstr("map")));
      expect_checkpoints_whole();
    }
  }
}

TEST_F(MemoryFaults, TheMessageSaysWhatAndHowMuch) {
  // Of the allocations that are so large some are tensors.
  long tensors = 0;
  for (long n = 5; n <= 13; n += 2) {
    FaultResult result = train(
        n, 1 << 20, true,
        {"packing=true", "cutoff_len=512", "max_samples=100", "max_steps=1", "gradient_checkpointing=false"});
    EXPECT_TRUE(result.code == 4 || result.code == 0) << result.err;
    static const std::regex message(
        "out of memory: cannot allocate [0-9.]+ [kM]B \\([0-9]+ bytes\\) for [a-z]+");
    if (std::regex_search(result.err, message)) ++tensors;
  }
  EXPECT_GT(tensors, 0);
}

// R08
TEST_F(MemoryFaults, LimitsOfTheAddressSpaceAreKnownBeforeTheFirstStep) {
  auto with_limit = [&](const std::string& bytes, std::vector<std::string> more) {
    fs::remove_all(run());
    std::vector<std::string> words = {"--as=" + bytes, test::fettle_binary().string()};
    for (const std::string& word : test::quickstart_run(run(), more)) words.push_back(word);
    return test::run_program("/usr/bin/prlimit", words);
  };
  const std::vector<std::string> large = {"per_device_train_batch_size=12", "max_samples=400", "packing=true",
                                          "cutoff_len=2048", "gradient_checkpointing=false"};
  test::ProcessResult refused = with_limit("1000000000", large);
  EXPECT_EQ(refused.code, 4) << refused.err;
  // The plan is a rehearsal, which such a limit may stop already.
  EXPECT_THAT(refused.err,
              ::testing::AnyOf(HasSubstr("the predicted peak of"), HasSubstr("cannot allocate")));
  EXPECT_FALSE(fs::exists(run() / "trainer_log.jsonl"));
  test::ProcessResult fits = with_limit("1000000000", {"max_steps=1"});
  EXPECT_EQ(fits.code, 0) << fits.err;
}

}  // namespace
}  // namespace fettle
