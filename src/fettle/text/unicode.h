// Classes of code points as Hugging Face `tokenizers` sees them (see tools/golden/make_unicode_ranges.py).
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// A set of classes is an or of these bits.
enum CharacterClass : uint16_t {
  kLetter = 1 << 0,           ///< \p{L}
  kNumber = 1 << 1,           ///< \p{N}
  kMark = 1 << 2,             ///< \p{M}
  kPunctuation = 1 << 3,      ///< \p{P}
  kSymbol = 1 << 4,           ///< \p{S}
  kSpace = 1 << 5,            ///< \s
  kNumeric = 1 << 6,          ///< Rust's char::is_numeric
  kWord = 1 << 7,             ///< \w of Rust's regex crate
  kBertPunctuation = 1 << 8,  ///< of BertPreTokenizer and Punctuation
  kBertControl = 1 << 9,      ///< removed by BertNormalizer's clean_text
  kBertSpace = 1 << 10,       ///< made a space by it
  kChinese = 1 << 11,         ///< set apart by its handle_chinese_chars
  kAccent = 1 << 12,          ///< dropped by its strip_accents
  kMarkToStrip = 1 << 13,     ///< dropped by StripAccents
  kReordered = 1 << 14,       ///< canonical combining class above 1
  kNfcUnstable = 1 << 15      ///< a text without any of these is its own NFC
};

/// Two levels: pages of 256 code points, equal pages stored once.
class CharacterTable {
 public:
  static const CharacterTable& get();
  /// Classes of a code point up to U+10FFFF.
  uint16_t operator[](uint32_t code) const { return cells_[pages_[code >> 8] + (code & 0xFF)]; }
  uint16_t ascii(unsigned char byte) const { return cells_[byte]; }

 private:
  CharacterTable();
  std::array<uint32_t, 0x1100> pages_;
  std::vector<uint16_t> cells_;
};

/// Appends the lower case of a code point.
void append_lower_case(std::string& out, uint32_t code);

/// Unicode normalisation forms with the data of `tokenizers`.
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
void normalise(std::string& text, UnicodeForm form);
/// True when `text` certainly is its own NFC.
bool surely_nfc(std::string_view text);

}  // namespace fettle
