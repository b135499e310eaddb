// The bytes of a data file, piece by piece: mapped, and unpacked when the file is gzip or zstd.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace fettle {

/// Pieces of a text file. A byte-order mark is skipped. Other encodings than UTF-8 and files of another kind
/// under the name of a text file (gzip, zip, zstd, Parquet) are Error(kBadInput) saying what they are. A gzip
/// file (.gz) or zstd file (.zst) is inflated piece by piece; one that grows beyond 256 times its size, 64
/// MiB apart, is refused.
class TextSource {
 public:
  explicit TextSource(const std::filesystem::path& path);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;
  /// The next piece, at most 1 MiB; empty at the end. Valid until the next call.
  std::string_view next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// `path` without a final ".gz" or ".zst".
std::filesystem::path without_packing(const std::filesystem::path& path);

}  // namespace fettle
