#include "fettle/base/mapped_pages.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "fettle/base/file.h"
#include "fettle/base/hash.h"
#include "fettle/base/system.h"
#include "support.h"

namespace fettle {
namespace {

TEST(MappedPages, LeaveMemoryAndComeBackAndOtherMemoryIsLeftAlone) {
  constexpr size_t kBytes = size_t{32} << 20;
  test::TempDir dir;
  test::write_text(dir / "large", std::string(kBytes, 'x'));
  std::vector<char> own(1 << 20, 'y');
  const void* where;
  {
    MappedFile file(dir / "large");
    where = file.bytes().data();
    auto sum = [&] {
      return std::accumulate(file.bytes().begin(), file.bytes().end(), uint64_t{0},
                             [](uint64_t all, std::byte b) { return all + static_cast<uint64_t>(b); });
    };
    EXPECT_EQ(sum(), kBytes * 'x');
    const uint64_t read = resident_bytes();
    forget_mapped_pages(where, kBytes);
    EXPECT_LT(resident_bytes() + kBytes / 2, read);
    EXPECT_EQ(sum(), kBytes * 'x');
    EXPECT_TRUE(in_mapped_file(file.bytes().data() + kBytes - 1));
    forget_mapped_pages(own.data(), own.size());
    EXPECT_EQ(own[own.size() / 2], 'y');
    EXPECT_FALSE(in_mapped_file(own.data()));
  }
  EXPECT_FALSE(in_mapped_file(where)) << "the file is closed";
}

TEST(FileHash, IsThatOfTheBytesAndKeepsFewOfThemInMemory) {
  test::TempDir dir;
  std::string text(size_t{40} << 20, 'a');
  for (size_t i = 0; i < text.size(); i += 4099) text[i] = static_cast<char>(i);
  test::write_text(dir / "large", text);
  Hash whole;
  whole.add(text.data(), text.size());
  EXPECT_EQ(file_hash(dir / "large"), whole.text());
}

}  // namespace
}  // namespace fettle
