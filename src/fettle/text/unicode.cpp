#include "fettle/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <span>

#include "fettle/text/utf8.h"

namespace fettle {
namespace {

struct Range {
  uint32_t first, last;
};
struct LowerRun {
  uint32_t first, last, step;
  int32_t distance;
};
#include "fettle/text/unicode_ranges.inc"

// Medial vowels and final consonants join the syllable before them.
constexpr Range kJoiningJamo[] = {{0x1161, 0x1175}, {0x11A8, 0x11C2}};

// Decompositions of Unicode 11 and later, which `tokenizers` does not know.
constexpr Range kYoungDecompositions[] = {{0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},
                                          {0x10781, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA},
                                          {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1E030, 0x1E06D},
                                          {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};

bool is_younger_than_tokenizers(uint32_t code) {
  for (Range range : kYoungDecompositions)
    if (code >= range.first && code <= range.last) return true;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class > 1 &&
         !(CharacterTable::get()[code] & kReordered);
}

void append_form(std::string& out, std::string_view text, int options) {
  if (text.empty()) return;
  utf8proc_uint8_t* mapped = nullptr;
  utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                         static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, std::free);
  if (length < 0)
    out += text;  // not UTF-8 or out of memory: tokenizers repair texts before they come here
  else
    out.append(reinterpret_cast<char*>(mapped), static_cast<size_t>(length));
}

}  // namespace

CharacterTable::CharacterTable() {
  std::vector<uint16_t> flat(0x110000, 0);
  auto mark = [&](std::span<const Range> ranges, uint16_t bit) {
    for (Range range : ranges)
      for (uint32_t code = range.first; code <= range.last; ++code) flat[code] |= bit;
  };
  mark(kLetterRanges, kLetter);
  mark(kNumberRanges, kNumber);
  mark(kMarkRanges, kMark | kNfcUnstable);
  mark(kPunctuationRanges, kPunctuation);
  mark(kSymbolRanges, kSymbol);
  mark(kSpaceRanges, kSpace);
  mark(kNumericRanges, kNumeric);
  mark(kWordRanges, kWord);
  mark(kBertPunctuationRanges, kBertPunctuation);
  mark(kBertControlRanges, kBertControl);
  mark(kBertSpaceRanges, kBertSpace);
  mark(kChineseRanges, kChinese);
  mark(kAccentRanges, kAccent);
  mark(kMarkToStripRanges, kMarkToStrip);
  mark(kReorderedRanges, kReordered | kNfcUnstable);
  mark(kChangedByNfcRanges, kNfcUnstable);
  mark(kJoiningJamo, kNfcUnstable);
  std::map<std::vector<uint16_t>, uint32_t> known;
  for (size_t page = 0; page < pages_.size(); ++page) {
    std::vector<uint16_t> cells(flat.begin() + static_cast<ptrdiff_t>(page * 256),
                                flat.begin() + static_cast<ptrdiff_t>(page * 256 + 256));
    auto [place, fresh] = known.try_emplace(std::move(cells), static_cast<uint32_t>(cells_.size()));
    if (fresh) cells_.insert(cells_.end(), place->first.begin(), place->first.end());
    pages_[page] = place->second;
  }
}

const CharacterTable& CharacterTable::get() {
  static const CharacterTable table;
  return table;
}

void append_lower_case(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    return;
  }
  if (code == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  const LowerRun* run =
      std::upper_bound(std::begin(kLowerRuns), std::end(kLowerRuns), code,
                       [](uint32_t value, const LowerRun& candidate) { return value < candidate.first; });
  if (run != std::begin(kLowerRuns) && code <= (--run)->last && (code - run->first) % run->step == 0)
    code = static_cast<uint32_t>(static_cast<int64_t>(code) + run->distance);
  append_utf8(out, code);
}

bool surely_nfc(std::string_view text) {
  const CharacterTable& table = CharacterTable::get();
  for (size_t i = 0; i < text.size();) {
    uint64_t word;
    if (i + 8 <= text.size() && (std::memcpy(&word, text.data() + i, 8), !(word & 0x8080808080808080ull))) {
      i += 8;
      continue;
    }
    uint32_t code;
    i += next_character(text, i, code);
    if (table[code] & kNfcUnstable) return false;
  }
  return true;
}

void normalise(std::string& text, UnicodeForm form) {
  if (form == UnicodeForm::kNfc && surely_nfc(text)) return;
  int options =
      form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd) options |= UTF8PROC_COMPAT;
  // What `tokenizers` does not know stands still and nothing moves or joins across it.
  std::string out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    uint32_t code = 0;
    size_t length = next_character(text, i, code);
    if (code > 0x7F && is_younger_than_tokenizers(code)) {
      append_form(out, std::string_view(text).substr(begin, i - begin), options);
      out.append(text, i, length);
      begin = i + length;
    }
    i += length;
  }
  append_form(out, std::string_view(text).substr(begin), options);
  text = std::move(out);
}

}  // namespace fettle
