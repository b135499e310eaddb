#include "fettle/text/similarity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "fettle/text/segmenter.h"

namespace fettle {
namespace {

using Words = std::vector<std::u32string>;

// str.split() and str.rstrip() of Python.
bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

std::u32string joined(const Words& words) {
  std::u32string text;
  for (const std::u32string& word : words) {
    if (!text.empty() || &word != &words.front()) text += U' ';
    text += word;
  }
  return text;
}

Words split(std::u32string_view text) {
  Words words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && !is_space(text[end])) ++end;
    if (end > i) words.emplace_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

bool in(char32_t c, std::u32string_view set) {
  return set.find(c) != set.npos;
}

// re.sub("(first)(next)", "\1\n\2"): matches do not overlap.
template <typename First, typename Next>
std::u32string break_after(const std::u32string& text, First first, Next next) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = first(i);
    if (length == 0 || i + length >= text.size() || !next(text[i + length])) {
      out += text[i++];
      continue;
    }
    out.append(text, i, length);
    out += U'\n';
    out += text[i + length];
    i += length + 1;
  }
  return out;
}

// Rouge.cut_sent of rouge_chinese, and its words: a sentence of white space is one empty word.
Words sentence_words(std::u32string text) {
  constexpr std::u32string_view kEnds = U"。！？?", kQuotes = U"”’";
  auto not_quote = [&](char32_t c) { return !in(c, kQuotes); };
  text = break_after(
      text, [&](size_t i) { return in(text[i], kEnds) ? size_t{1} : 0; }, not_quote);
  text = break_after(
      text, [&](size_t i) { return text.compare(i, 6, U"......") == 0 ? size_t{6} : 0; }, not_quote);
  text = break_after(
      text, [&](size_t i) { return text.compare(i, 2, U"……") == 0 ? size_t{2} : 0; }, not_quote);
  text = break_after(
      text,
      [&](size_t i) {
        return in(text[i], kEnds) && i + 1 < text.size() && in(text[i + 1], kQuotes) ? size_t{2} : 0;
      },
      [](char32_t c) { return !in(c, U"，。！？?"); });
  while (!text.empty() && is_space(text.back())) text.pop_back();
  Words words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(U'\n', begin), text.size());
    if (end > begin) {
      Words own = split(std::u32string_view(text).substr(begin, end - begin));
      if (own.empty()) own.emplace_back();
      words.insert(words.end(), own.begin(), own.end());
    }
    begin = end + 1;
  }
  return words;
}

double f_measure(double overlap, double predicted, double wanted) {
  const double precision = predicted > 0 ? overlap / predicted : 0,
               recall = wanted > 0 ? overlap / wanted : 0;
  return 2.0 * (precision * recall / (precision + recall + 1e-8));
}

double rouge_n(const Words& prediction, const Words& label, size_t n) {
  auto grams = [n](const Words& words) {
    std::set<Words> all;
    for (size_t i = 0; i + n <= words.size(); ++i)
      all.insert(
          Words(words.begin() + static_cast<ptrdiff_t>(i), words.begin() + static_cast<ptrdiff_t>(i + n)));
    return all;
  };
  const std::set<Words> predicted = grams(prediction), wanted = grams(label);
  double overlap = 0;
  for (const Words& gram : predicted) overlap += static_cast<double>(wanted.count(gram));
  return f_measure(overlap, static_cast<double>(predicted.size()), static_cast<double>(wanted.size()));
}

double rouge_l(const Words& prediction, const Words& label) {
  std::vector<size_t> row(prediction.size() + 1, 0);
  for (const std::u32string& word : label) {
    size_t corner = 0;
    for (size_t j = 1; j <= prediction.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == prediction[j - 1] ? corner + 1 : std::max(above, row[j - 1]);
      corner = above;
    }
  }
  return f_measure(static_cast<double>(row.back()), static_cast<double>(prediction.size()),
                   static_cast<double>(label.size()));
}

double bleu4(const std::u32string& prediction, const std::u32string& label) {
  double log_sum = 0, smoothing = 1;
  for (size_t n = 1; n <= 4; ++n) {
    std::map<std::u32string, int64_t> predicted, wanted;
    for (size_t i = 0; i + n <= prediction.size(); ++i) ++predicted[prediction.substr(i, n)];
    for (size_t i = 0; i + n <= label.size(); ++i) ++wanted[label.substr(i, n)];
    int64_t matches = 0, count = 0;
    for (const auto& [gram, times] : predicted) {
      auto found = wanted.find(gram);
      if (found != wanted.end()) matches += std::min(times, found->second);
      count += times;
    }
    if (n == 1 && matches == 0) return 0;
    const double below = static_cast<double>(std::max<int64_t>(1, count));
    // method3: 1/2, 1/4, … for orders without a match.
    double precision = static_cast<double>(matches) / below;
    if (matches == 0) precision = 1.0 / (std::exp2(smoothing++) * below);
    log_sum += 0.25 * std::log(precision);
  }
  const double length = static_cast<double>(prediction.size()), wanted = static_cast<double>(label.size());
  const double brevity = length > wanted ? 1.0 : std::exp(1.0 - wanted / length);
  return brevity * std::exp(log_sum);
}

std::u32string_view stripped(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

double rounded(double value) {
  return std::nearbyint(value * 1e6) / 1e4;
}

}  // namespace

TextScores compare_texts(std::string_view prediction, std::string_view label) {
  TextScores scores;
  const std::u32string hypothesis = joined(segment_words(prediction)),
                       reference = joined(segment_words(label));
  if (!split(hypothesis).empty() && !split(reference).empty()) {
    const Words a = sentence_words(hypothesis), b = sentence_words(reference);
    scores.rouge1 = 100 * rouge_n(a, b, 1);
    scores.rouge2 = 100 * rouge_n(a, b, 2);
    scores.rouge_l = 100 * rouge_l(a, b);
  }
  const std::u32string characters = to_code_points(prediction), wanted = to_code_points(label);
  scores.bleu4 = 100 * bleu4(characters, wanted);
  scores.exact_match = stripped(characters) == stripped(wanted) ? 100 : 0;
  return scores;
}

void Similarity::add(std::string_view prediction, std::string_view label) {
  const TextScores s = compare_texts(prediction, label);
  sum_.bleu4 += rounded(s.bleu4 / 100);
  sum_.rouge1 += rounded(s.rouge1 / 100);
  sum_.rouge2 += rounded(s.rouge2 / 100);
  sum_.rouge_l += rounded(s.rouge_l / 100);
  sum_.exact_match += s.exact_match;
  ++count_;
}

std::map<std::string, double> Similarity::means() const {
  const double n = std::max(1.0, count_);
  return {{"bleu-4", sum_.bleu4 / n},
          {"rouge-1", sum_.rouge1 / n},
          {"rouge-2", sum_.rouge2 / n},
          {"rouge-l", sum_.rouge_l / n},
          {"exact_match", sum_.exact_match / n}};
}

}  // namespace fettle
