#include "fettle/base/hash.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

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
  hash.add(file.bytes().data(), file.size());
  file.forget(0, file.size());
  return hash.text();
}

}  // namespace fettle
