// Hand-made files for the tests of the readers.
#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle::test {

inline std::string little_endian(uint64_t value, int width) {
  std::string out;
  for (int i = 0; i < width; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

/// A safetensors file with this header and this data, right or wrong.
inline std::string safetensors_bytes(const std::string& header, const std::string& data = "") {
  return little_endian(header.size(), 8) + header + data;
}

/// A zip file with stored entries.
inline std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string out, directory;
  for (const auto& [name, content] : entries) {
    std::string sizes = little_endian(0, 4) + little_endian(content.size(), 4) +
                        little_endian(content.size(), 4) + little_endian(name.size(), 2) +
                        little_endian(0, 2);
    std::string common =
        little_endian(10, 2) + little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4);
    directory += "PK\1\2" + little_endian(20, 2) + common + sizes + little_endian(0, 2) +
                 little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4) +
                 little_endian(out.size(), 4) + name;
    out += "PK\3\4" + common + sizes + name + content;
  }
  size_t start = out.size();
  return out + directory + "PK\5\6" + little_endian(0, 4) + little_endian(entries.size(), 2) +
         little_endian(entries.size(), 2) + little_endian(directory.size(), 4) + little_endian(start, 4) +
         little_endian(0, 2);
}

/// The message of the Error(kBadInput) that `action` must throw; a failure of the test otherwise.
inline std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

}  // namespace fettle::test
