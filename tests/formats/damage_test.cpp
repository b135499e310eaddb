// Every reader meets every small damage to a good file: whatever it says, it must not crash, and what it does
// accept must be readable to the last byte. Run it under sanitizers (FETTLE_SANITIZE) for its full worth.
#include <gtest/gtest.h>

#include <random>

#include "fettle/formats/safetensors.h"
#include "fettle/formats/torch_archive.h"
#include "files.h"

namespace fettle {
namespace {

// Touches all the data of all tensors, so that a sanitizer or the end of the mapping would notice.
template <typename File>
uint64_t read_all(const std::filesystem::path& path) {
  uint64_t sum = 0;
  try {
    File file(path);
    for (const auto& [name, info] : file.tensors()) {
      if (!info.dtype) continue;
      Tensor tensor = file.tensor(name);
      const auto* bytes = static_cast<const uint8_t*>(tensor.raw());
      for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
    EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos) << error.what();
  }
  return sum;
}

template <typename File>
void damage(const std::string& fixture) {
  std::string good = test::read_text(test::golden_dir() / "formats" / fixture);
  test::TempDir dir;
  std::filesystem::path path = dir / "damaged";
  auto check = [&](const std::string& bytes) {
    test::write_text(path, bytes);
    read_all<File>(path);
  };
  for (size_t cut = 0; cut < good.size(); cut += 1 + good.size() / 700) check(good.substr(0, cut));
  std::mt19937_64 random(7);
  for (size_t at = 0; at < good.size(); at += 1 + good.size() / 1500) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    check(bytes);
  }
  for (int i = 0; i < 800; ++i) {
    std::string bytes = good;
    // Several bytes at once, with the values that break arithmetic.
    for (uint64_t n = random() % 4 + 1; n > 0; --n) {
      constexpr char kEvil[] = {0, 1, 0x7f, -128, -1, '(', '.', '}', 'R', 't', 'h'};
      bytes[random() % bytes.size()] = kEvil[random() % sizeof kEvil];
    }
    if (i % 3 == 0) bytes.erase(random() % bytes.size(), random() % 16);
    if (i % 3 == 1)
      bytes.insert(random() % bytes.size(), bytes.substr(random() % bytes.size(), random() % 64));
    check(bytes);
  }
}

TEST(Damage, Safetensors) {
  damage<SafetensorsFile>("state.safetensors");
}
TEST(Damage, TorchZip) {
  damage<TorchArchive>("state.bin");
}
TEST(Damage, TorchZip64) {
  damage<TorchArchive>("zip64.bin");
}
TEST(Damage, TorchLegacy) {
  damage<TorchArchive>("state_legacy.bin");
}

TEST(Damage, ATruncatedFileIsAlwaysRefused) {
  std::string good = test::read_text(test::golden_dir() / "formats/state.safetensors");
  test::TempDir dir;
  for (size_t cut = 0; cut < good.size(); ++cut) {
    test::write_text(dir / "cut.safetensors", good.substr(0, cut));
    EXPECT_THROW(SafetensorsFile(dir / "cut.safetensors"), Error) << cut;
  }
}

}  // namespace
}  // namespace fettle
