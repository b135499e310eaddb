#include "fettle/text/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "fettle/base/error.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

// Fields of a unit of Darts-clone.
bool has_leaf(uint32_t unit) {
  return unit >> 8 & 1;
}
uint32_t value_of(uint32_t unit) {
  return unit & 0x7FFFFFFFu;
}
uint32_t label_of(uint32_t unit) {
  return unit & 0x800000FFu;
}
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Charsmap::Charsmap(std::string_view blob, const std::string& origin) {
  uint32_t size = 0;
  if (blob.size() < 4)
    fail_input("{}: the character map has {} bytes, at least 4 expected", origin, blob.size());
  std::memcpy(&size, blob.data(), 4);
  if (size % 4 != 0 || size == 0 || size > blob.size() - 4)
    fail_input("{}: the trie of the character map says {} bytes, {} are there", origin, size,
               blob.size() - 4);
  units_.resize(size / 4);
  std::memcpy(units_.data(), blob.data() + 4, size);
  replacements_ = blob.substr(4 + size);
  if (!is_valid_utf8(replacements_))
    fail_input("{}: replacements of the character map are not UTF-8", origin);
  // A unit that carries a value is reached through the leaf flag of its parent.
  for (size_t at = 0; at < units_.size(); ++at) {
    if (!has_leaf(units_[at]) || units_[at] >> 31) continue;
    size_t leaf = at ^ offset_of(units_[at]);
    if (leaf >= units_.size() || value_of(units_[leaf]) >= replacements_.size())
      fail_input("{}: unit {} of the character map points outside of it", origin, at);
  }
  kept_.assign(0x10000, false);
  alone_.assign(0x10000, false);
  std::string character;
  for (uint32_t code = 0x20; code < 0x10000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    character.clear();
    append_utf8(character, code);
    kept_[code] = !replacement(character);
    alone_[code] =
        utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->boundclass == UTF8PROC_BOUNDCLASS_OTHER;
  }
}

std::optional<std::string_view> Charsmap::replacement(std::string_view part) const {
  size_t at = offset_of(units_[0]);
  for (unsigned char byte : part) {
    if (byte == 0) break;
    at ^= byte;
    if (at >= units_.size()) break;
    uint32_t unit = units_[at];
    if (label_of(unit) != byte) break;
    at ^= offset_of(unit);
    if (has_leaf(unit) && at < units_.size()) {
      size_t begin = value_of(units_[at]);
      if (begin >= replacements_.size()) break;
      // The shortest known prefix decides, whatever follows it.
      return std::string_view(replacements_).substr(begin, replacements_.find('\0', begin) - begin);
    }
  }
  return std::nullopt;
}

void Charsmap::apply(std::string_view text, std::string& out) const {
  out.clear();
  out.reserve(text.size());
  auto rewrite = [&](std::string_view cluster) {
    uint32_t code;
    size_t length = next_character(cluster, 0, code);
    if (cluster.size() < 6 && length < cluster.size())
      if (auto known = replacement(cluster)) {
        out += *known;
        return;
      }
    for (size_t i = 0; i < cluster.size();) {
      length = next_character(cluster, i, code);
      std::string_view character = cluster.substr(i, length);
      if (auto known = code < kept_.size() && kept_[code] ? std::nullopt : replacement(character))
        out += *known;
      else
        out += character;
      i += length;
    }
  };
  auto alone = [&](uint32_t code) { return code < alone_.size() && alone_[code]; };
  uint32_t previous = 0;  // the character before i; nothing that stands alone at the start
  utf8proc_int32_t state = 0;
  size_t begin = 0;  // of the cluster that i may continue
  for (size_t i = 0; i < text.size();) {
    uint32_t code = 0xFFFD, next = 0;
    size_t length = next_character(text, i, code);
    if (!alone(previous) || !alone(code)) {
      if (i > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                    static_cast<utf8proc_int32_t>(code), &state)) {
        rewrite(text.substr(begin, i - begin));
        begin = i;
      }
      previous = code;
      i += length;
      continue;
    }
    // Most of a text: characters between others of their kind are clusters of their own, all but the last of
    // a run, which may have a mark behind it.
    if (begin < i) rewrite(text.substr(begin, i - begin));
    size_t copied = i;
    for (size_t more; i + length < text.size(); i += length, length = more, code = next) {
      more = next_character(text, i + length, next);
      if (!alone(next)) break;
      if (kept_[code]) continue;
      out += text.substr(copied, i - copied);
      rewrite(text.substr(i, length));
      copied = i + length;
    }
    out += text.substr(copied, i - copied);
    begin = i;
    previous = code;
    i += length;
    state = 0;
  }
  if (begin < text.size()) rewrite(text.substr(begin));
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  out.reserve(text.size() / 4 * 3 + 2);
  for (char c : text) {
    size_t value = kBase64.find(c);
    if (value == kBase64.npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (++count == 4) {
      out += {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8), static_cast<char>(bits)};
      count = 0;
    }
  }
  if (count == 2) out += static_cast<char>(bits >> 4);
  if (count == 3) out += {static_cast<char>(bits >> 10), static_cast<char>(bits >> 2)};
  return out;
}

std::string encode_base64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += k <= count ? kBase64[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace fettle
