// Ids of words seen before: a direct-mapped table of fixed size, one for each thread and model.
#pragma once
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "fettle/text/tokenizer.h"

namespace fettle {

class WordCache {
 public:
  static constexpr size_t kLongestWord = 57;
  /// One cache line: the ids stand at the front of `content`, the word at its end.
  struct alignas(64) Slot {
    uint8_t length = 0, count = 0, kind = 0;
    alignas(4) char content[60];
  };

  /// The table of the calling thread for the model with this serial number; a thread keeps the last four.
  static WordCache& of_thread(uint64_t serial);

  /// Where the word of 1 to kLongestWord bytes belongs; holds() says whether it is there. `kind` tells apart
  /// words whose ids are made in different ways.
  Slot& slot(std::string_view word, uint8_t kind) {
    const size_t n = word.size();
    const char* p = word.data();
    uint64_t hash = n * 0x9E3779B97F4A7C15ull + kind;
    auto mix = [&hash](uint64_t bytes) {
      hash = (hash ^ bytes) * 0xD6E8FEB86659FD93ull;
      hash ^= hash >> 32;
    };
    auto load = [p](size_t at) {
      uint64_t bytes;
      std::memcpy(&bytes, p + at, 8);
      return bytes;
    };
    // Overlapping loads read every byte at least once and nothing else.
    if (n >= 8) {
      for (size_t at = 0; at + 8 < n; at += 8) mix(load(at));
      mix(load(n - 8));
    } else if (n >= 4) {
      uint32_t head, tail;
      std::memcpy(&head, p, 4);
      std::memcpy(&tail, p + n - 4, 4);
      mix(static_cast<uint64_t>(head) << 32 | tail);
    } else {
      mix(static_cast<unsigned char>(p[0]) |
          static_cast<uint64_t>(static_cast<unsigned char>(p[n / 2])) << 8 |
          static_cast<uint64_t>(static_cast<unsigned char>(p[n - 1])) << 16);
    }
    return slots_[hash * 0xD6E8FEB86659FD93ull >> (64 - kBits)];
  }
  static bool holds(const Slot& slot, std::string_view word, uint8_t kind) {
    if (slot.length != word.size() || slot.kind != kind) return false;
    const char *a = slot.content + sizeof(slot.content) - word.size(), *b = word.data();
    const size_t n = word.size();
    auto equal = [&]<typename Word>(Word, size_t at) {
      Word x, y;
      std::memcpy(&x, a + at, sizeof x);
      std::memcpy(&y, b + at, sizeof y);
      return x == y;
    };
    if (n >= 8) {
      for (size_t at = 0; at + 8 < n; at += 8)
        if (!equal(uint64_t{}, at)) return false;
      return equal(uint64_t{}, n - 8);
    }
    if (n >= 4) return equal(uint32_t{}, 0) && equal(uint32_t{}, n - 4);
    return a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1];
  }
  /// Appends what the slot holds.
  static void take(const Slot& slot, std::vector<TokenId>& out) {
    TokenId ids[sizeof(slot.content) / sizeof(TokenId)];
    std::memcpy(ids, slot.content, sizeof ids);
    if (slot.count == 1)
      out.push_back(ids[0]);
    else
      out.insert(out.end(), ids, ids + slot.count);
  }
  /// What does not fit is not kept.
  static void put(Slot& slot, std::string_view word, uint8_t kind, std::span<const TokenId> ids) {
    if (word.size() + ids.size_bytes() > sizeof slot.content) return;
    std::memcpy(slot.content, ids.data(), ids.size_bytes());
    std::memcpy(slot.content + sizeof(slot.content) - word.size(), word.data(), word.size());
    slot.length = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(ids.size());
    slot.kind = kind;
  }

 private:
  static constexpr int kBits = 16;
  std::vector<Slot> slots_ = std::vector<Slot>(size_t{1} << kBits);
};

}  // namespace fettle
