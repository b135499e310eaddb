#include "fettle/base/hash.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "fettle/base/file.h"

namespace fettle {

struct Hash::State {
  XXH3_state_t xxh;
};

Hash::Hash() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->xxh);
}

Hash::~Hash() = default;

void Hash::add(const void* data, size_t bytes) {
  XXH3_128bits_update(&state_->xxh, data, bytes);
}

std::string Hash::text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string file_hash(const std::filesystem::path& path) {
  Hash hash;
  if (std::filesystem::file_size(path) == 0) return hash.text();
  MappedFile file(path);
  // By pieces, which leave memory again: a checkpoint can be larger than what is free.
  constexpr uint64_t kPiece = uint64_t{16} << 20;
  for (uint64_t begin = 0; begin < file.size(); begin += kPiece) {
    const uint64_t end = std::min<uint64_t>(begin + kPiece, file.size());
    hash.add(file.bytes().data() + begin, end - begin);
    file.forget(begin, end);
  }
  return hash.text();
}

}  // namespace fettle
