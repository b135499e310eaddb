#include "fettle/data/preview.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/base/utf8.h"

namespace fettle {
namespace {

std::string run_text(std::span<const int32_t> ids, const Tokenizer* tokenizer) {
  constexpr size_t kMost = 600;
  auto text = [&](std::span<const int32_t> part) {
    return tokenizer ? visible_text(tokenizer->decode(part, false))
                     : fmt::format("{} ", fmt::join(part, " "));
  };
  if (ids.size() <= kMost) return text(ids);
  return text(ids.first(kMost / 2)) + fmt::format(" … {} more tokens … ", ids.size() - kMost) +
         text(ids.last(kMost / 2));
}

}  // namespace

std::string visible_text(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    unsigned char byte = static_cast<unsigned char>(text[at]);
    // U+0080 to U+009F are control characters too.
    bool second = byte == 0xC2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    if (second)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[++at]));
    else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += text[at];
  }
  return out;
}

std::string cut_text(const InspectedRow& row, const Tokenizer* tokenizer) {
  if (!row.truncated) return "";
  const std::vector<int32_t>&kept = row.example.ids, &whole = row.whole.ids;
  size_t same = 0;
  while (same < kept.size() && same < whole.size() && kept[same] == whole[same]) ++same;
  std::string text = fmt::format("cut: {} of {} tokens, {} of them trained; the first cut is at token {}",
                                 whole.size() - std::min(kept.size(), whole.size()), whole.size(),
                                 row.whole.labelled() - row.example.labelled(), same);
  if (tokenizer && same < whole.size()) {
    std::span<const int32_t> rest = std::span(whole).subspan(same);
    text +=
        fmt::format(", before \"{}\"",
                    printable(tokenizer->decode(rest.first(std::min<size_t>(rest.size(), 24)), false), 60));
  }
  return text;
}

std::string preview_example(const Example& example, const Tokenizer* tokenizer, bool color) {
  std::string out;
  for (size_t begin = 0; begin < example.ids.size();) {
    bool learned = example.labels[begin] >= 0;
    size_t end = begin;
    while (end < example.ids.size() && (example.labels[end] >= 0) == learned) ++end;
    std::string text = run_text(std::span(example.ids).subspan(begin, end - begin), tokenizer);
    if (!learned)
      out += text;
    else
      out += color ? "\x1b[32m" + text + "\x1b[0m" : "⟦" + text + "⟧";
    begin = end;
  }
  if (!out.empty() && out.back() != '\n') out += '\n';
  return out + fmt::format("({} tokens, {} learned)", example.ids.size(), example.labelled());
}

std::string token_table(const Example& example, const Tokenizer* tokenizer,
                        const std::vector<TokenRange>& ranges, int columns) {
  Table table({"position", "id", "token", "learned"},
              {Align::kRight, Align::kRight, Align::kLeft, Align::kLeft});
  int64_t size = static_cast<int64_t>(example.ids.size()), shown = 0;
  for (const TokenRange& range : ranges) {
    int64_t begin = std::clamp<int64_t>(range.first, shown, size);
    int64_t end = begin + std::clamp<int64_t>(range.count, 0, size - begin);
    if (shown > 0 && begin > shown && end > begin) table.add_row({"…"});
    for (int64_t i = begin; i < end; ++i) {
      size_t at = static_cast<size_t>(i);
      std::string text = tokenizer ? tokenizer->decode({&example.ids[at], 1}, false) : "";
      // A token may hold part of a character only; its spelling in the vocabulary says more than a
      // replacement mark.
      if (tokenizer && first_invalid_utf8(text) == text.npos && text.find("\xEF\xBF\xBD") != text.npos)
        text = tokenizer->id_to_token(example.ids[at]);
      table.add_row({std::to_string(i), std::to_string(example.ids[at]), printable(text, 40),
                     example.labels[at] >= 0 ? "yes" : ""});
    }
    shown = std::max(shown, end);
  }
  return table.text(columns);
}

}  // namespace fettle
