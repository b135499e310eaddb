#include "fettle/text/segmenter.h"

#include <zstd.h>

#include <array>
#include <charconv>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/utf8.h"

// The packed model, linked into the program.
asm(R"(
    .section .rodata
    .balign 16
    .global fettle_jieba_begin
    .global fettle_jieba_end
fettle_jieba_begin:
    .incbin ")" FETTLE_JIEBA_MODEL R"("
fettle_jieba_end:
    .previous
)");
extern "C" const char fettle_jieba_begin[], fettle_jieba_end[];

namespace fettle {
namespace {

constexpr double kImpossible = -3.14e100;
enum State { kBegin, kMiddle, kEnd, kSingle };
constexpr std::string_view kStates = "BMES";

std::string unpack_model() {
  const size_t packed = static_cast<size_t>(fettle_jieba_end - fettle_jieba_begin);
  std::string text(ZSTD_getFrameContentSize(fettle_jieba_begin, packed), '\0');
  const size_t got = ZSTD_decompress(text.data(), text.size(), fettle_jieba_begin, packed);
  FETTLE_CHECK(got == text.size(), "the dictionary of words is damaged");
  return text;
}

class Model {
 public:
  static const Model& instance() {
    static const Model model;
    return model;
  }

  // Words sorted by code points, so that those with a common beginning are a range.
  struct Range {
    size_t begin, end;
  };
  Range all() const { return {0, words_.size()}; }
  /// Those of `range` (which share `depth` characters) that go on with `c`.
  Range narrow(Range range, size_t depth, char32_t c) const {
    auto at = [&](size_t i) { return words_[i].length > depth ? text_[words_[i].begin + depth] : 0; };
    size_t low = range.begin, high = range.end;
    while (low < high) {
      size_t middle = (low + high) / 2;
      at(middle) < c ? low = middle + 1 : high = middle;
    }
    const size_t begin = low;
    high = range.end;
    while (low < high) {
      size_t middle = (low + high) / 2;
      at(middle) <= c ? low = middle + 1 : high = middle;
    }
    return {begin, low};
  }
  /// The frequency of the word that is exactly what the range shares; 0 when there is none.
  int64_t frequency(Range range, size_t depth) const {
    return range.begin < range.end && words_[range.begin].length == depth ? words_[range.begin].frequency : 0;
  }
  int64_t frequency(std::u32string_view word) const {
    Range range = all();
    for (size_t depth = 0; depth < word.size(); ++depth) range = narrow(range, depth, word[depth]);
    return frequency(range, word.size());
  }
  double log_total() const { return log_total_; }
  double emission(State state, char32_t c) const {
    if (c < kFirst || c > kLast) return kImpossible;
    return emissions_[static_cast<size_t>(state)][c - kFirst];
  }

 private:
  static constexpr char32_t kFirst = 0x4E00, kLast = 0x9FFF;

  Model() {
    const std::string text = unpack_model();
    size_t line_begin = 0;
    int64_t total = 0;
    auto next_line = [&] {
      const size_t end = text.find('\n', line_begin);
      std::string_view line(text.data() + line_begin, end - line_begin);
      line_begin = end + 1;
      return line;
    };
    for (std::string_view line = next_line(); !line.empty(); line = next_line()) {
      const size_t space = line.rfind(' ');
      Word word{.begin = static_cast<uint32_t>(text_.size()), .length = 0, .frequency = 0};
      std::from_chars(line.data() + space + 1, line.data() + line.size(), word.frequency);
      text_ += to_code_points(line.substr(0, space));
      word.length = static_cast<uint16_t>(text_.size() - word.begin);
      total += word.frequency;
      words_.push_back(word);
    }
    log_total_ = std::log(static_cast<double>(total));
    for (auto& table : emissions_) table.assign(kLast - kFirst + 1, kImpossible);
    while (line_begin < text.size()) {
      std::string_view line = next_line();
      char32_t c = 0;
      double value = 0;
      uint32_t code = 0;
      const char* end = std::from_chars(line.data() + 2, line.data() + line.size(), code).ptr;
      std::from_chars(end + 1, line.data() + line.size(), value);
      c = code;
      if (c >= kFirst && c <= kLast) emissions_[kStates.find(line[0])][c - kFirst] = value;
    }
  }

  struct Word {
    uint32_t begin;
    uint16_t length;
    int32_t frequency;
  };
  std::u32string text_;
  std::vector<Word> words_;
  double log_total_ = 0;
  std::array<std::vector<double>, 4> emissions_;
};

bool is_han(char32_t c) {
  return c >= 0x4E00 && c <= 0x9FD5;
}
bool is_alnum(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
// What re_han_default takes.
bool in_block(char32_t c) {
  return is_han(c) || is_alnum(c) ||
         (c < 0x80 && std::string_view("+#&._%-").find(static_cast<char>(c)) != std::string_view::npos);
}
using Words = std::vector<std::u32string>;

// finalseg: the likeliest course of begin, middle, end and single (Viterbi).
void cut_unknown_han(std::u32string_view text, Words& words) {
  const Model& model = Model::instance();
  constexpr double kStart[4] = {-0.26268660809250016, kImpossible, kImpossible, -1.4652633398537678};
  // From the state before, in the order B M E S; what cannot follow is not asked.
  struct Before {
    State state;
    double probability;
  };
  static const std::array<std::array<Before, 2>, 4> kBefore = {{
      {{{kEnd, -0.5897149736854513}, {kSingle, -0.7211965654669841}}},
      {{{kMiddle, -1.2603623820268226}, {kBegin, -0.916290731874155}}},
      {{{kBegin, -0.510825623765990}, {kMiddle, -0.33344856811948514}}},
      {{{kSingle, -0.6658631448798212}, {kEnd, -0.8085250474669937}}},
  }};
  const size_t n = text.size();
  std::vector<std::array<double, 4>> best(n);
  std::vector<std::array<State, 4>> from(n);
  for (size_t y = 0; y < 4; ++y) best[0][y] = kStart[y] + model.emission(static_cast<State>(y), text[0]);
  for (size_t t = 1; t < n; ++t)
    for (size_t y = 0; y < 4; ++y) {
      const double emission = model.emission(static_cast<State>(y), text[t]);
      double top = 0;
      State source = kBegin;
      for (size_t k = 0; k < 2; ++k) {
        const Before& before = kBefore[y][k];
        const double value = best[t - 1][before.state] + before.probability + emission;
        // Python's max of (value, letter): the later letter wins a tie.
        if (k == 0 || value > top || (value == top && kStates[before.state] > kStates[source])) {
          top = value;
          source = before.state;
        }
      }
      best[t][y] = top;
      from[t][y] = source;
    }
  State state = best[n - 1][kSingle] >= best[n - 1][kEnd] ? kSingle : kEnd;
  std::vector<State> states(n);
  for (size_t t = n; t-- > 0;) {
    states[t] = state;
    if (t > 0) state = from[t][state];
  }
  size_t begin = 0, next = 0;
  for (size_t i = 0; i < n; ++i) {
    if (states[i] == kBegin) begin = i;
    if (states[i] == kEnd) words.emplace_back(text.substr(begin, i + 1 - begin));
    if (states[i] == kSingle) words.emplace_back(text.substr(i, 1));
    if (states[i] == kEnd || states[i] == kSingle) next = i + 1;
  }
  if (next < n) words.emplace_back(text.substr(next));
}

// re_skip of finalseg: "[a-zA-Z0-9]+(\.\d+)?%?" and what lies between.
void cut_latin(std::u32string_view text, Words& words) {
  size_t pending = 0;
  for (size_t i = 0; i < text.size();) {
    if (!is_alnum(text[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && is_alnum(text[end])) ++end;
    size_t digits = end + 1;
    if (end < text.size() && text[end] == '.') {
      while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
      if (digits > end + 1) end = digits;
    }
    if (end < text.size() && text[end] == '%') ++end;
    if (i > pending) words.emplace_back(text.substr(pending, i - pending));
    words.emplace_back(text.substr(i, end - i));
    pending = i = end;
  }
  if (pending < text.size()) words.emplace_back(text.substr(pending));
}

void cut_unknown(std::u32string_view text, Words& words) {
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && is_han(text[end]) == is_han(text[i])) ++end;
    if (is_han(text[i]))
      cut_unknown_han(text.substr(i, end - i), words);
    else
      cut_latin(text.substr(i, end - i), words);
    i = end;
  }
}

// __cut_DAG: the path of the highest probability through the words that start at each place.
void cut_block(std::u32string_view text, Words& words) {
  const Model& model = Model::instance();
  const size_t n = text.size();
  std::vector<double> best(n + 1, 0);
  std::vector<size_t> last(n);  // the last character of the word that begins there
  for (size_t i = n; i-- > 0;) {
    bool any = false;
    auto offer = [&](size_t x, int64_t frequency) {
      const double value =
          std::log(static_cast<double>(frequency ? frequency : 1)) - model.log_total() + best[x + 1];
      if (!any || value >= best[i]) {  // of equals the longer one
        best[i] = value;
        last[i] = x;
      }
      any = true;
    };
    Model::Range range = model.all();
    for (size_t x = i; x < n; ++x) {
      range = model.narrow(range, x - i, text[x]);
      if (range.begin == range.end) break;
      if (int64_t frequency = model.frequency(range, x - i + 1)) offer(x, frequency);
    }
    if (!any) offer(i, model.frequency(text.substr(i, 1)));
  }
  std::u32string single;
  auto flush = [&] {
    if (single.size() == 1)
      words.push_back(single);
    else if (!single.empty() && model.frequency(single) == 0)
      cut_unknown(single, words);
    else
      for (char32_t c : single) words.emplace_back(1, c);
    single.clear();
  };
  for (size_t x = 0; x < n; x = last[x] + 1) {
    if (last[x] == x) {
      single += text[x];
      continue;
    }
    flush();
    words.emplace_back(text.substr(x, last[x] + 1 - x));
  }
  flush();
}

}  // namespace

std::u32string to_code_points(std::string_view text) {
  std::u32string points;
  for (size_t at = 0; at < text.size();) {
    bool valid = true;
    const char32_t c = next_code_point(text, at, &valid);
    points += valid ? c : U'\uFFFD';
  }
  return points;
}

std::vector<std::u32string> segment_words(std::string_view utf8) {
  const std::u32string text = to_code_points(utf8);
  Words words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && in_block(text[end])) ++end;
    if (end > i) {
      cut_block(std::u32string_view(text).substr(i, end - i), words);
      i = end;
    } else {
      const bool line_end = text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
      words.emplace_back(text.substr(i, line_end ? 2 : 1));
      i += line_end ? 2 : 1;
    }
  }
  return words;
}

}  // namespace fettle
