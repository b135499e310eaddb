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
  kept_.assign(0x10000 / 64, 0);
  std::string character;
  for (uint32_t code = 0x80; code < 0x10000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    character.clear();
    append_utf8(character, code);
    if (!replacement(character)) kept_[code / 64] |= uint64_t{1} << (code % 64);
  }
  keeps_ascii_ = true;
  for (char c = 0x20; c < 0x7F; ++c) keeps_ascii_ = keeps_ascii_ && !replacement({&c, 1});
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

std::string Charsmap::apply(std::string_view text) const {
  std::string out;
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
      if (auto known = replacement(character))
        out += *known;
      else
        out += character;
      i += length;
    }
  };
  auto is_ideograph = [](utf8proc_int32_t c) { return c >= 0x3400 && c <= 0x9FFF; };
  // The ideograph that begins at i, three bytes; 0 when there is none.
  auto ideograph_at = [&](size_t i) -> uint32_t {
    if (i + 2 >= text.size()) return 0;
    const uint32_t a = static_cast<unsigned char>(text[i]), b = static_cast<unsigned char>(text[i + 1]),
                   c = static_cast<unsigned char>(text[i + 2]);
    if (a < 0xE3 || a > 0xE9) return 0;
    const uint32_t code = (a & 0xF) << 12 | (b & 0x3F) << 6 | (c & 0x3F);
    return is_ideograph(static_cast<utf8proc_int32_t>(code)) ? code : 0;
  };
  auto kept = [&](uint32_t code) { return (kept_[code / 64] >> (code % 64) & 1) != 0; };
  utf8proc_int32_t previous = -1, state = 0;
  size_t begin = 0;
  auto plain = [&](size_t i) { return i < text.size() && text[i] >= 0x20 && text[i] < 0x7F; };
  for (size_t i = 0; i < text.size();) {
    // Between plain ASCII characters every cluster is one character.
    if (keeps_ascii_ && plain(i) && plain(i + 1)) {
      if (begin < i) rewrite(text.substr(begin, i - begin));
      begin = i;
      while (plain(i + 1)) ++i;
      out += text.substr(begin, i - begin);
      begin = i;
      previous = text[i++];
      state = 0;
      continue;
    }
    // So it is between ideographs; the last of a run may have a mark behind it.
    if (is_ideograph(previous)) {
      size_t end = i;
      for (uint32_t here = ideograph_at(end), next; here != 0 && kept(here); here = next) {
        next = ideograph_at(end + 3);
        if (next == 0) break;
        end += 3;
      }
      if (end > i) {
        rewrite(text.substr(begin, i - begin));
        out += text.substr(i, end - i);
        begin = end;
        i = end + 3;
        state = 0;
        continue;
      }
    }
    uint32_t code = 0xFFFD;
    size_t length = next_character(text, i, code);
    utf8proc_int32_t current = static_cast<utf8proc_int32_t>(code);
    if (is_ideograph(previous) && is_ideograph(current)) {
      state = 0;
      rewrite(text.substr(begin, i - begin));
      begin = i;
    } else if (previous >= 0 && utf8proc_grapheme_break_stateful(previous, current, &state)) {
      rewrite(text.substr(begin, i - begin));
      begin = i;
    }
    previous = current;
    i += length;
  }
  if (begin < text.size()) rewrite(text.substr(begin));
  return out;
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
