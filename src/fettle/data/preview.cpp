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
    return tokenizer ? tokenizer->decode(part, false) : fmt::format("{} ", fmt::join(part, " "));
  };
  if (ids.size() <= kMost) return text(ids);
  return text(ids.first(kMost / 2)) + fmt::format(" … {} more tokens … ", ids.size() - kMost) +
         text(ids.last(kMost / 2));
}

}  // namespace

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

std::string token_table(const Example& example, const Tokenizer* tokenizer, int64_t first, int64_t count,
                        int columns) {
  int64_t size = static_cast<int64_t>(example.ids.size()), begin = std::clamp<int64_t>(first, 0, size);
  int64_t end = begin + std::clamp<int64_t>(count, 0, size - begin);
  Table table({"position", "id", "token", "learned"},
              {Align::kRight, Align::kRight, Align::kLeft, Align::kLeft});
  for (int64_t i = begin; i < end; ++i) {
    size_t at = static_cast<size_t>(i);
    std::string text = tokenizer ? tokenizer->decode({&example.ids[at], 1}, false) : "";
    // A token may hold part of a character only; its spelling in the vocabulary says more than a replacement
    // mark.
    if (tokenizer && first_invalid_utf8(text) == text.npos && text.find("\xEF\xBF\xBD") != text.npos)
      text = tokenizer->id_to_token(example.ids[at]);
    table.add_row({std::to_string(i), std::to_string(example.ids[at]), printable(text, 40),
                   example.labels[at] >= 0 ? "yes" : ""});
  }
  return table.text(columns);
}

}  // namespace fettle
