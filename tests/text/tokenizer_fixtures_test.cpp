// Every component of a tokenizer.json against Hugging Face `tokenizers`: small tokenizers made by
// tools/golden/make_tokenizers.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/text/matcher.h"
#include "fettle/text/regex.h"
#include "fettle/text/tokenizer.h"
#include "support.h"

namespace fettle {
namespace {

const Json& fixtures() {
  static const Json json = read_json(test::golden_dir() / "text" / "tokenizers.json");
  return json["tokenizers"];
}

TEST(TokenizerFixtures, EqualHuggingFace) {
  test::TempDir folder;
  int cases = 0;
  for (const Json& fixture : fixtures()) {
    SCOPED_TRACE(fixture["name"].get<std::string>());
    test::write_text(folder / "tokenizer.json", fixture["tokenizer"].dump());
    auto tokenizer = load_tokenizer_file(folder / "tokenizer.json");
    for (const Json& row : fixture["cases"]) {
      std::vector<TokenId> ids = row["ids"], with_special = row["ids_special"];
      std::string text = row["text"];
      EXPECT_EQ(tokenizer->encode(text, false), ids) << row["text"];
      EXPECT_EQ(tokenizer->encode(text, true), with_special) << row["text"];
      EXPECT_EQ(tokenizer->decode(ids, false), row["decode"].get<std::string>()) << row["text"];
      EXPECT_EQ(tokenizer->decode(with_special, true), row["decode_skip"].get<std::string>()) << row["text"];
      ++cases;
    }
    for (const Json& row : fixture["pairs"]) {
      Encoding encoding =
          tokenizer->encode_with_types(row["text"].get<std::string>(), row["pair"].get<std::string>(), true);
      EXPECT_EQ(encoding.ids, row["ids"].get<std::vector<TokenId>>()) << row["text"];
      EXPECT_EQ(encoding.type_ids, row["type_ids"].get<std::vector<int32_t>>()) << row["text"];
      EXPECT_EQ(encoding.special_tokens_mask, row["special_mask"].get<std::vector<uint8_t>>()) << row["text"];
    }
  }
  EXPECT_GT(cases, 1000);
}

// What a scanner finds is what the regex engine finds for the same pattern.
TEST(TokenizerFixtures, ScannersEqualRegularExpressions) {
  int scanners = 0;
  for (const Json& fixture : fixtures()) {
    const Json& stage = fixture["tokenizer"]["pre_tokenizer"];
    if (!stage.is_object() || !stage.contains("pattern") || !stage["pattern"].contains("Regex")) continue;
    std::string pattern = stage["pattern"]["Regex"];
    std::shared_ptr<const Matcher> scanner = known_scanner(pattern);
    if (!scanner) continue;
    ++scanners;
    Regex regex(pattern, "test");
    for (const Json& row : fixture["cases"]) {
      std::string text = row["text"];
      for (size_t at = 0, begin = 0, end = 0; at <= text.size(); at = end) {
        size_t wanted_begin = 0, wanted_end = 0;
        bool found = at < text.size() && scanner->next(text, at, begin, end);
        ASSERT_EQ(found, at < text.size() && regex.find(text, at, wanted_begin, wanted_end))
            << pattern << row["text"];
        if (!found) break;
        ASSERT_EQ(begin, wanted_begin) << pattern << row["text"];
        ASSERT_EQ(end, wanted_end) << pattern << row["text"];
      }
    }
  }
  EXPECT_GE(scanners, 6);
}

}  // namespace
}  // namespace fettle
