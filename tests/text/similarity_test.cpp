// Words and similarity of texts against jieba, rouge_chinese and nltk. Fixture:
// tools/golden/make_similarity.py.
#include "fettle/text/similarity.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/text/segmenter.h"
#include "support.h"

namespace fettle {
namespace {

Json fixture() {
  return read_json(test::golden_dir() / "text" / "similarity.json");
}

TEST(Segmenter, WordsAreJiebas) {
  const Json golden = fixture();
  for (const Json& text : golden["words"]) {
    std::vector<std::u32string> want;
    for (const Json& word : text[1]) want.push_back(to_code_points(word.get<std::string>()));
    EXPECT_EQ(segment_words(text[0].get<std::string>()), want) << text.dump();
  }
}

TEST(Segmenter, TakesAnything) {
  EXPECT_TRUE(segment_words("").empty());
  EXPECT_EQ(segment_words("\xff\xe4\xbd").size(), to_code_points("\xff\xe4\xbd").size());
  const std::string long_run(20000, 'a');
  EXPECT_EQ(segment_words(long_run).size(), 1u);
}

TEST(Similarity, FiguresAreLlamaFactorys) {
  const Json golden = fixture();
  for (const Json& pair : golden["pairs"]) {
    const TextScores s = compare_texts(pair[0].get<std::string>(), pair[1].get<std::string>());
    EXPECT_NEAR(s.bleu4, pair[2]["bleu-4"].get<double>(), 1e-9) << pair.dump();
    EXPECT_NEAR(s.rouge1, pair[2]["rouge-1"].get<double>(), 1e-9) << pair.dump();
    EXPECT_NEAR(s.rouge2, pair[2]["rouge-2"].get<double>(), 1e-9) << pair.dump();
    EXPECT_NEAR(s.rouge_l, pair[2]["rouge-l"].get<double>(), 1e-9) << pair.dump();
  }
  Similarity total;
  total.add(" 好 ", "好");
  total.add("坏", "好");
  EXPECT_EQ(total.means().at("exact_match"), 50);
}

}  // namespace
}  // namespace fettle
