#include "fettle/text/class_cuts.h"

#include <algorithm>
#include <limits>

#include "fettle/base/error.h"
#include "fettle/text/utf8.h"

namespace fettle {

/// A text on its way through the patterns that concern it.
struct ClassCuts::Text {
  std::string_view bytes;
  std::vector<Character> characters;  ///< and one behind the last
  std::vector<Pattern> patterns;
  bool first;
  PreTokenizer::Sink sink;
};

ClassCuts::ClassCuts(const std::vector<const ClassPattern*>& patterns) : masks_(0x110000, 0) {
  FETTLE_CHECK(patterns.size() <= kMostPatterns, "{} patterns", patterns.size());
  Mask next = 1;
  auto bit_of = [&](const CharacterSet& set) {
    const Mask bit = next;
    next = static_cast<Mask>(next << 1);
    set.for_each([&](uint32_t code) { masks_[code] |= bit; });
    return bit;
  };
  for (const ClassPattern* pattern : patterns)
    patterns_.push_back({bit_of(pattern->set), pattern->lead ? bit_of(*pattern->lead) : Mask{0},
                         pattern->most, pattern->at_line_end});
  masks_['\n'] |= kNewline;
}

void ClassCuts::cut(std::string_view bytes, bool first, PreTokenizer::Sink sink) const {
  if (bytes.size() > std::numeric_limits<uint32_t>::max())
    fail_input("a text of {} bytes is too long for one row", bytes.size());
  Text text{bytes, {}, {}, first, sink};
  text.characters.reserve(bytes.size() + 1);
  Mask all = 0;
  for (size_t at = 0; at < bytes.size();) {
    uint32_t code = 0;
    const size_t length = next_character(bytes, at, code);
    text.characters.push_back({static_cast<uint32_t>(at), masks_[code]});
    all |= masks_[code];
    at += length;
  }
  text.characters.push_back({static_cast<uint32_t>(bytes.size()), 0});
  for (const Pattern& pattern : patterns_)
    if (all & pattern.set) text.patterns.push_back(pattern);
  cut_piece(text, 0, 0, text.characters.size() - 1);
}

void ClassCuts::cut_piece(const Text& text, size_t number, size_t from, size_t to) const {
  const Character* characters = text.characters.data();
  if (from == to) return;
  if (number == text.patterns.size()) {
    const size_t begin = characters[from].begin;
    return text.sink(text.bytes.substr(begin, characters[to].begin - begin), text.first && from == 0);
  }
  const Pattern& pattern = text.patterns[number];
  auto run = [&](size_t at) {
    size_t end = at;
    while (end < to && end - at < pattern.most && (characters[end].mask & pattern.set)) ++end;
    return end;
  };
  size_t open = from;  // what no match has taken yet
  for (size_t at = from; at < to;) {
    if (!(characters[at].mask & (pattern.set | pattern.lead))) {
      ++at;
      continue;
    }
    size_t end = at;
    if (characters[at].mask & pattern.lead) {
      end = run(at + 1);
      if (end == at + 1) end = at;
    }
    if (end == at) end = run(at);
    const size_t whole = end;
    if (pattern.at_line_end)
      while (end > at && end < to && !(characters[end].mask & kNewline)) --end;
    if (end == at) {
      // No later start of the same run can match either.
      at = std::max(whole, at + 1);
      continue;
    }
    cut_piece(text, number + 1, open, at);
    cut_piece(text, number + 1, at, end);
    open = at = end;
  }
  cut_piece(text, number + 1, open, to);
}

}  // namespace fettle
