// What the fuzz targets share: an Error is how the program refuses an input, everything else is a finding.
#pragma once
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "fettle/base/error.h"

namespace fettle::fuzz {

template <typename Act>
int expect_errors_only(Act act) {
  try {
    act();
  } catch (const Error& error) {
    // A defect of the program itself is a finding, a refusal is not.
    if (error.code() == ExitCode::kInternal) throw;
  }
  return 0;
}

inline std::string text_of(const uint8_t* data, size_t size) {
  return std::string(reinterpret_cast<const char*>(data), size);
}

/// The input as a file of this process, for readers that map files.
inline std::filesystem::path file_of(const uint8_t* data, size_t size, const std::string& name) {
  static const std::filesystem::path folder = [] {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("fettle-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path);
    return path;
  }();
  std::ofstream(folder / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return folder / name;
}

}  // namespace fettle::fuzz
