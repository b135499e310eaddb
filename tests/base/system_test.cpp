#include "fettle/base/system.h"

#include <gtest/gtest.h>

#include "fettle/base/version.h"
#include "support.h"

namespace fettle {
namespace {

TEST(System, FiguresArePlausible) {
  const CpuInfo cpu = cpu_info();
  EXPECT_FALSE(cpu.model.empty());
  EXPECT_GE(cpu.usable_cores, 1);
  EXPECT_GE(cpu.online_cores, cpu.usable_cores);
  EXPECT_FALSE(cpu.features.text().empty());
#if defined(__x86_64__)
  EXPECT_EQ(cpu.features.avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(cpu.features.avx512, __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
  EXPECT_EQ(cpu.features.avx512_bf16, __builtin_cpu_supports("avx512bf16") != 0);
#endif
  const MemoryInfo memory = memory_info();
  EXPECT_GT(memory.total, uint64_t{64} << 20);
  EXPECT_GT(memory.available, 0u);
  EXPECT_LE(memory.available, memory.total);
  EXPECT_GT(resident_bytes(), 0u);
  EXPECT_GE(peak_resident_bytes() + (1 << 20), resident_bytes());
  EXPECT_FALSE(operating_system().empty());
}

TEST(System, DiskFreeOfFoldersThatAreYetToBe) {
  test::TempDir folder;
  const auto here = disk_free(folder.path());
  ASSERT_TRUE(here);
  EXPECT_GT(*here, 0u);
  EXPECT_TRUE(disk_free(folder / "a" / "b" / "c"));
  EXPECT_TRUE(disk_free("relative/and/absent"));
}

TEST(Version, IsTheOneOfTheBuild) {
  const std::string text = test::read_text(test::source_dir() / "CMakeLists.txt");
  EXPECT_NE(text.find("project(fettle VERSION " + std::string(kVersion) + " "), std::string::npos);
}

}  // namespace
}  // namespace fettle
