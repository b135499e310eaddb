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
  /// Writes to `out` the text with every grapheme cluster, or every character of it, that the map knows
  /// replaced. `out` does not hold the text.
  void apply(std::string_view text, std::string& out) const;

 private:
  std::optional<std::string_view> replacement(std::string_view part) const;
  std::vector<uint32_t> units_;
  std::string replacements_;
  /// By code point below 0x10000: characters that make no cluster with one of their kind before or behind
  /// them, and those without a rule of their own.
  std::vector<bool> alone_, kept_;
};

/// Bytes of standard base64; nothing when it is malformed.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace fettle
