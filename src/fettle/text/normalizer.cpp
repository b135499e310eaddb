#include "fettle/text/normalizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/charsmap.h"
#include "fettle/text/component.h"
#include "fettle/text/matcher.h"
#include "fettle/text/unicode.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

/// Writes what becomes of a text into a string that does not hold the text.
using Rewrite = std::function<void(std::string_view, std::string&)>;

/// A rewrite that looks at one character after the other.
template <typename Each>
Rewrite by_character(Each each) {
  return [each, &table = CharacterTable::get()](std::string_view text, std::string& out) {
    out.clear();
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      uint32_t code = 0xFFFD;
      size_t length = next_character(text, i, code);
      each(table, out, code);
      i += length;
    }
  };
}

Rewrite in_sequence(std::vector<Rewrite> parts) {
  return [parts = std::move(parts)](std::string_view text, std::string& out) {
    if (parts.empty()) out = text;
    std::string before;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) before.swap(out);
      parts[i](i > 0 ? std::string_view(before) : text, out);
    }
  };
}

Rewrite unicode_form(UnicodeForm form) {
  return [form](std::string_view text, std::string& out) {
    out = text;
    normalise(out, form);
  };
}

Rewrite strip(bool left, bool right) {
  return [left, right](std::string_view text, std::string& out) {
    const CharacterTable& table = CharacterTable::get();
    size_t begin = 0, end = text.size();
    uint32_t code;
    while (left && begin < end) {
      int length = utf8_length(text, begin, code);
      if (!length || !(table[code] & kSpace)) break;
      begin += static_cast<size_t>(length);
    }
    while (right && end > begin) {
      size_t start = end - 1;
      while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
      if (!utf8_length(text, start, code) || !(table[code] & kSpace)) break;
      end = start;
    }
    out = text.substr(begin, end - begin);
  };
}

// BertNormalizer (tokenizers/normalizers/bert.rs), after BERT's BasicTokenizer.
Rewrite bert(const Json& json, const std::string& origin) {
  bool clean = flag_field(json, "clean_text", true, origin);
  bool chinese = flag_field(json, "handle_chinese_chars", true, origin);
  bool lower = flag_field(json, "lowercase", true, origin);
  bool strip_accents = flag_field(json, "strip_accents", lower, origin);
  Rewrite spaced =
      by_character([clean, chinese](const CharacterTable& table, std::string& out, uint32_t code) {
        uint16_t classes = table[code];
        if (clean && (classes & kBertControl)) return;
        if (clean && (classes & kBertSpace)) {
          out += ' ';
        } else if (chinese && (classes & kChinese)) {
          out += ' ';
          append_utf8(out, code);
          out += ' ';
        } else {
          append_utf8(out, code);
        }
      });
  Rewrite without_accents = by_character([](const CharacterTable& table, std::string& out, uint32_t code) {
    if (!(table[code] & kAccent)) append_utf8(out, code);
  });
  Rewrite lowered = by_character(
      [](const CharacterTable& table, std::string& out, uint32_t code) { append_lower_case(out, code); });
  std::vector<Rewrite> parts;
  if (clean || chinese) parts.push_back(spaced);
  if (strip_accents) {
    parts.push_back(unicode_form(UnicodeForm::kNfd));
    parts.push_back(without_accents);
  }
  if (lower) parts.push_back(lowered);
  return in_sequence(std::move(parts));
}

// Nmt (tokenizers/normalizers/unicode.rs): control characters go, white space becomes a space.
Rewrite nmt() {
  return by_character([](const CharacterTable& table, std::string& out, uint32_t c) {
    if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F)
      return;
    bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                 c == 0xFFFD;
    append_utf8(out, space ? ' ' : c);
  });
}

void check_growth(std::string_view text, size_t grown, const std::string& origin) {
  if (grown > text.size() * 16 + (size_t{64} << 20))
    fail_input("{}: Replace makes a text of {} bytes longer than sixteen times that", origin, text.size());
}

// Replace of a single byte, as SentencePiece's of spaces, which are many.
Rewrite replace_byte(char byte, const std::string& content, const std::string& origin) {
  return [byte, content, origin](std::string_view text, std::string& out) {
    const size_t count = static_cast<size_t>(std::count(text.begin(), text.end(), byte));
    check_growth(text, text.size() - count + count * content.size(), origin);
    out.resize(text.size() - count + count * content.size());
    char* to = out.data();
    for (char c : text)
      if (c == byte)
        to = std::copy(content.begin(), content.end(), to);
      else
        *to++ = c;
  };
}

Rewrite replace(const Json& json, const std::string& origin) {
  std::shared_ptr<const Matcher> matcher = make_matcher(json, origin);
  std::string content = text_field(json, "content", origin);
  const Json& pattern = json["pattern"];
  if (pattern.contains("String") && pattern["String"].get_ref<const std::string&>().size() == 1)
    return replace_byte(pattern["String"].get_ref<const std::string&>()[0], content, origin);
  return [matcher, content, origin](std::string_view text, std::string& out) {
    out.clear();
    size_t at = 0, begin, end;
    while (at < text.size() && matcher->next(text, at, begin, end)) {
      out += text.substr(at, begin - at);
      out += content;
      at = end;
      check_growth(text, out.size(), origin);
    }
    out += text.substr(at);
  };
}

Rewrite make_rewrite(const Json& json, const std::string& origin, int depth) {
  std::string type = type_of(json, origin, "normalizer");
  if (type == "Sequence") {
    if (depth > 32) fail_input("{}: Sequences are nested more than 32 deep", origin);
    std::vector<Rewrite> parts;
    for (const Json& part : list_field(json, "normalizers", origin))
      parts.push_back(make_rewrite(part, origin, depth + 1));
    return in_sequence(std::move(parts));
  }
  if (type == "NFC") return unicode_form(UnicodeForm::kNfc);
  if (type == "NFD") return unicode_form(UnicodeForm::kNfd);
  if (type == "NFKC") return unicode_form(UnicodeForm::kNfkc);
  if (type == "NFKD") return unicode_form(UnicodeForm::kNfkd);
  if (type == "Lowercase")
    return by_character(
        [](const CharacterTable& table, std::string& out, uint32_t code) { append_lower_case(out, code); });
  if (type == "StripAccents")
    return by_character([](const CharacterTable& table, std::string& out, uint32_t code) {
      if (!(table[code] & kMarkToStrip)) append_utf8(out, code);
    });
  if (type == "Strip")
    return strip(flag_field(json, "strip_left", true, origin), flag_field(json, "strip_right", true, origin));
  if (type == "Prepend") {
    std::string prefix = text_field(json, "prepend", origin);
    return [prefix](std::string_view text, std::string& out) {
      out.clear();
      if (text.empty()) return;
      out.reserve(prefix.size() + text.size());
      out += prefix;
      out += text;
    };
  }
  if (type == "Replace") return replace(json, origin);
  if (type == "BertNormalizer") return bert(json, origin);
  if (type == "Nmt") return nmt();
  if (type == "ByteLevel")
    return [](std::string_view text, std::string& out) {
      out.clear();
      for (unsigned char byte : text) out += byte_level_alphabet()[byte];
    };
  if (type == "Precompiled") {
    std::optional<std::string> blob = decode_base64(text_field(json, "precompiled_charsmap", origin));
    if (!blob) fail_input("{}: precompiled_charsmap is not base64", origin);
    auto map = std::make_shared<const Charsmap>(*blob, origin);
    return [map](std::string_view text, std::string& out) { map->apply(text, out); };
  }
  fail_input("{}: normalizer {} is not supported", origin, printable(type));
}

}  // namespace

Normalizer Normalizer::make(const Json& json, const std::string& origin) {
  Normalizer normalizer;
  if (json.is_null()) return normalizer;
  std::string type = type_of(json, origin, "normalizer");
  if (type == "Sequence" && list_field(json, "normalizers", origin).empty()) return normalizer;
  if (type == "NFC") normalizer.leaves_ = surely_nfc;
  normalizer.rewrite_ = make_rewrite(json, origin, 0);
  return normalizer;
}

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  if (!rewrite_ || (leaves_ && leaves_(text))) return text;
  rewrite_(text, buffer);
  return buffer;
}

}  // namespace fettle
