// SentencePiece's precompiled character map: a double-array trie from byte sequences to their replacements
// (sentencepiece/src/normalizer.cc; read as `tokenizers`' spm_precompiled does).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

class Charsmap {
 public:
  /// `blob`: little-endian trie size, trie, replacements ended by NUL. Error(kBadInput) starting with
  /// `origin` when sizes or offsets do not fit.
  Charsmap(std::string_view blob, const std::string& origin);
  /// Rewrites every grapheme cluster, or every character of it, that the map knows.
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> replacement(std::string_view part) const;
  std::vector<uint32_t> units_;
  std::string replacements_;
  std::vector<uint64_t> kept_;  ///< bits by code point below 0x10000: characters without a rule of their own
  bool keeps_ascii_ = false;    ///< no rule for a single printable ASCII character
};

/// Bytes of standard base64; nothing when it is malformed.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace fettle
