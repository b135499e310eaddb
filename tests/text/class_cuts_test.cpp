// Splits by character classes done together cut as the same Splits one after the other.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "fettle/text/pre_tokenizer.h"

namespace fettle {
namespace {

Json split(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

using Pieces = std::vector<std::pair<std::string, bool>>;

Pieces cut(const PreTokenizer& cutter, std::string_view text, bool first) {
  Pieces pieces;
  cutter.cut(text, first,
             [&](std::string_view piece, bool begins) { pieces.emplace_back(std::string(piece), begins); });
  return pieces;
}

TEST(ClassCuts, EqualSplitsOneAfterTheOther) {
  // DeepSeek-LLM's sequence, shortened, and some that take each other's characters.
  const std::vector<std::vector<std::string>> sequences = {
      {"[\r\n]", R"(\s?[A-Za-zÀ-ÖØ-ö]+)", R"(\s?[!-/:-~！-／])", R"(\s+$)", "[一-龥]+", R"(\p{N})"},
      {R"(\s+$)", R"(\p{N}{1,3})", " ?[a-z]+"},
      {R"( ?\p{L}+)", "[a-c]", R"(\s?\s+)", "[一-龥]$"},
      {"[1-9]$", R"(\s?[\r\n]+)", "a"}};
  const std::vector<std::string> letters = {"a",    "b",  "Z",  "é",  "1", "7", " ",      "  ", "\t",    "\n",
                                            "\r\n", "中", "文", "，", "!", "?", "\u3000", "😀",  "\u0301"};
  std::mt19937 random(7);
  for (const std::vector<std::string>& sequence : sequences) {
    Json together = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
    std::vector<PreTokenizer> single;
    for (const std::string& regex : sequence) {
      together["pretokenizers"].push_back(split(regex));
      single.push_back(PreTokenizer::make(split(regex), "test"));
    }
    const PreTokenizer fused = PreTokenizer::make(together, "test");
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      for (size_t n = random() % 14; n > 0; --n) text += letters[random() % letters.size()];
      Pieces expected = {{text, true}};
      if (text.empty()) expected.clear();
      for (const PreTokenizer& cutter : single) {
        Pieces next;
        for (const auto& [piece, begins] : expected)
          for (auto& smaller : cut(cutter, piece, begins)) next.push_back(std::move(smaller));
        expected = std::move(next);
      }
      ASSERT_EQ(cut(fused, text, true), expected) << sequence[0] << " on \"" << text << '"';
    }
  }
}

}  // namespace
}  // namespace fettle
