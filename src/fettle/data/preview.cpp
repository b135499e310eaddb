#include "fettle/data/preview.h"

#include <fmt/format.h>

#include <span>

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

}  // namespace fettle
