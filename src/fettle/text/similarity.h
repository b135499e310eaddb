// How alike two texts are, with the figures of LLaMA-Factory's ComputeSimilarity (train/sft/metric.py).
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace fettle {

/// In per cent. rouge: f of ROUGE-1, -2 and -L over jieba's words, as rouge_chinese counts it (sets of
/// n-grams; longest common subsequence); bleu-4: nltk's sentence_bleu over characters with
/// SmoothingFunction.method3; exact_match: 100 when the texts are equal but for white space at their ends.
struct TextScores {
  double bleu4 = 0, rouge1 = 0, rouge2 = 0, rouge_l = 0, exact_match = 0;
};
TextScores compare_texts(std::string_view prediction, std::string_view label);

/// Means over many pairs, each figure rounded to four digits first.
class Similarity {
 public:
  void add(std::string_view prediction, std::string_view label);
  /// bleu-4, rouge-1, rouge-2, rouge-l, exact_match.
  std::map<std::string, double> means() const;

 private:
  TextScores sum_;
  double count_ = 0;
};

}  // namespace fettle
