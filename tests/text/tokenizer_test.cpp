// Tokenizers against the known answers of Hugging Face `tokenizers` for real model files.
#include "fettle/text/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/utf8.h"
#include "support.h"

namespace fettle {
namespace {

class RealTokenizer : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return test::assets_dir() / "tokenizers" / GetParam(); }
  template <typename Check>
  int64_t each_row(const std::string& file, Check check) {
    std::istringstream lines(test::read_text(folder() / file));
    int64_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) check(parse_json(line, file));
    return count;
  }
};

TEST_P(RealTokenizer, EqualsHuggingFace) {
  FETTLE_REQUIRE_ASSETS();
  auto tokenizer = load_tokenizer_file(folder() / "tokenizer.json");
  int64_t rows = each_row("vectors.jsonl", [&](const Json& row) {
    std::string text = row["text"];
    std::vector<TokenId> ids = row["ids"], with_special = row["ids_special"];
    EXPECT_EQ(tokenizer->encode(text, false), ids) << row["id"] << ": " << printable(text);
    EXPECT_EQ(tokenizer->encode(text, true), with_special) << row["id"];
    EXPECT_EQ(tokenizer->decode(ids, false), row["decode"].get<std::string>()) << row["id"];
    EXPECT_EQ(tokenizer->decode(with_special, true), row["decode_skip"].get<std::string>()) << row["id"];
    StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (TokenId id : ids) {
      std::string piece = stream.push(id);
      EXPECT_TRUE(is_valid_utf8(piece));
      streamed += piece;
    }
    streamed += stream.finish();
    EXPECT_EQ(streamed, row["decode"].get<std::string>()) << row["id"];
  });
  EXPECT_GT(rows, 100);
}

INSTANTIATE_TEST_SUITE_P(Models, RealTokenizer,
                         ::testing::Values("qwen2.5", "qwen3", "deepseek-r1-distill-qwen",
                                           "deepseek-llm-7b-chat", "llama3-8b-instruct", "llama2-7b-chat",
                                           "gpt2", "gpt2-resaved", "roberta-base"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

TEST(Tokenizer, DeepSeekBeginsWithBosFromItsConfiguration) {
  FETTLE_REQUIRE_ASSETS();
  auto tokenizer = load_tokenizer(test::assets_dir() / "tokenizers" / "deepseek-llm-7b-chat");
  std::vector<TokenId> ids = tokenizer->encode("Hello", true);
  ASSERT_FALSE(ids.empty());
  EXPECT_EQ(ids[0], tokenizer->bos_id());
}

TEST(Tokenizer, LongRunsOfOneCharacterAreLinear) {
  FETTLE_REQUIRE_ASSETS();
  auto tokenizer = load_tokenizer(test::assets_dir() / "tokenizers" / "llama2-7b-chat");
  for (char c : {'^', '0', 'a', ' ', '\n'}) {
    std::string text(1 << 20, c);
    std::vector<TokenId> ids = tokenizer->encode(text, false);
    EXPECT_GT(ids.size(), 1000u);
  }
}

}  // namespace
}  // namespace fettle
