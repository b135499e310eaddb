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

std::string test_name(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

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
                                           "gpt2", "gpt2-resaved", "roberta-base", "bert-base-chinese",
                                           "bert-base-uncased", "t5-base"),
                         [](const auto& info) { return test_name(info.param); });

TEST_P(RealTokenizer, PairsEqualHuggingFace) {
  FETTLE_REQUIRE_ASSETS();
  auto tokenizer = load_tokenizer_file(folder() / "tokenizer.json");
  int64_t rows = each_row("pairs.jsonl", [&](const Json& row) {
    Encoding encoding =
        tokenizer->encode_with_types(row["text"].get<std::string>(), row["pair"].get<std::string>(), true);
    EXPECT_EQ(encoding.ids, row["ids"].get<std::vector<TokenId>>()) << row["text"];
    EXPECT_EQ(encoding.type_ids, row["type_ids"].get<std::vector<int32_t>>()) << row["text"];
    EXPECT_EQ(encoding.special_tokens_mask, row["special_mask"].get<std::vector<uint8_t>>()) << row["text"];
  });
  EXPECT_GT(rows, 3);
}

// The longer text is cut first, special tokens stay: what enable_truncation(max_length) of `tokenizers`
// gives.
TEST(TokenizerTruncation, CutsTheLongerTextFirst) {
  FETTLE_REQUIRE_ASSETS();
  auto tokenizer = load_tokenizer(test::assets_dir() / "tokenizers" / "bert-base-chinese");
  const std::string a = "我晚上睡不着，怎么办呢", b = "你是谁";
  using Ids = std::vector<TokenId>;
  auto cut = [&](const std::string& text, std::optional<std::string_view> pair, int64_t length) {
    return tokenizer->encode_with_types(text, pair, true, length).ids;
  };
  EXPECT_EQ(cut(a, {}, 6), (Ids{101, 2769, 3241, 677, 4717, 102}));
  EXPECT_EQ(cut(a, b, 6), (Ids{101, 2769, 3241, 102, 872, 102}));
  EXPECT_EQ(cut(b, a, 6), (Ids{101, 872, 102, 2769, 3241, 102}));
  EXPECT_EQ(cut(a, b, 9), (Ids{101, 2769, 3241, 677, 102, 872, 3221, 6443, 102}));
  EXPECT_EQ(cut(a, b, 12), (Ids{101, 2769, 3241, 677, 4717, 679, 4708, 102, 872, 3221, 6443, 102}));
  EXPECT_EQ(cut(a, b, 30), cut(a, b, 100));
}

// The same vocabulary from files of the time before tokenizer.json gives the same ids.
struct OldFiles {
  std::string folder;
  std::vector<std::string> files;
  std::string tokenizer_class;  ///< written into tokenizer_config.json when the folder has none
};

class OldTokenizer : public ::testing::TestWithParam<OldFiles> {};

TEST_P(OldTokenizer, EqualsTokenizerJson) {
  FETTLE_REQUIRE_ASSETS();
  std::filesystem::path source = test::assets_dir() / "tokenizers" / GetParam().folder;
  test::TempDir folder;
  for (const std::string& name : GetParam().files) std::filesystem::copy_file(source / name, folder / name);
  Json config = Json::object();
  if (std::filesystem::exists(source / "tokenizer_config.json"))
    config = read_json(source / "tokenizer_config.json");
  if (!config.contains("tokenizer_class")) config["tokenizer_class"] = GetParam().tokenizer_class;
  test::write_text(folder / "tokenizer_config.json", config.dump());
  auto tokenizer = load_tokenizer(folder.path());
  std::istringstream lines(test::read_text(source / "vectors.jsonl"));
  int64_t rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    Json row = parse_json(line, "vectors.jsonl");
    std::vector<TokenId> ids = row["ids"], with_special = row["ids_special"];
    EXPECT_EQ(tokenizer->encode(row["text"].get<std::string>(), false), ids) << row["id"];
    EXPECT_EQ(tokenizer->encode(row["text"].get<std::string>(), true), with_special) << row["id"];
    EXPECT_EQ(tokenizer->decode(with_special, true), row["decode_skip"].get<std::string>()) << row["id"];
  }
  EXPECT_GT(rows, 100);
}

INSTANTIATE_TEST_SUITE_P(
    Files, OldTokenizer,
    ::testing::Values(OldFiles{"bert-base-chinese", {"vocab.txt"}, "BertTokenizer"},
                      OldFiles{"bert-base-uncased", {"vocab.txt"}, "BertTokenizer"},
                      OldFiles{"gpt2", {"vocab.json", "merges.txt"}, "GPT2Tokenizer"},
                      OldFiles{"roberta-base", {"vocab.json", "merges.txt"}, "RobertaTokenizer"},
                      OldFiles{"qwen2.5", {"vocab.json", "merges.txt"}, "Qwen2Tokenizer"},
                      OldFiles{"llama2-7b-chat", {"tokenizer.model"}, "LlamaTokenizer"},
                      OldFiles{"t5-base", {"spiece.model"}, "T5Tokenizer"}),
    [](const auto& info) { return test_name(info.param.folder); });

// Vocabularies inside GGUF files against the answers that come with them.
class GgufTokenizer : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufTokenizer, GivesTheIdsBesideTheFile) {
  FETTLE_REQUIRE_ASSETS();
  std::string base = (test::assets_dir() / "ggml-vocab" / ("ggml-vocab-" + GetParam() + ".gguf")).string();
  auto tokenizer = load_tokenizer(base);
  std::string texts = test::read_text(base + ".inp");
  std::istringstream answers(test::read_text(base + ".out"));
  const std::string mark = "\n__ggml_vocab_test__\n";
  int64_t count = 0;
  for (size_t begin = 0; begin < texts.size();) {
    size_t end = std::min(texts.find(mark, begin), texts.size());
    std::string text = texts.substr(begin, end - begin), line;
    begin = end + mark.size();
    ASSERT_TRUE(std::getline(answers, line));
    std::vector<TokenId> expected;
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer->encode(text, false), expected) << printable(text);
    ++count;
  }
  EXPECT_GT(count, 30);
}

INSTANTIATE_TEST_SUITE_P(Files, GgufTokenizer,
                         ::testing::Values("bert-bge", "deepseek-coder", "deepseek-llm", "gpt-2", "llama-spm",
                                           "phi-3"),
                         [](const auto& info) { return test_name(info.param); });

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
