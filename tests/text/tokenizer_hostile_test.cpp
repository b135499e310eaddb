// Tokenizer files and texts that nobody meant well. Numbers in comments are those of our list of hostile
// inputs.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/charsmap.h"
#include "fettle/text/sentencepiece_model.h"
#include "fettle/text/tokenizer.h"
#include "support.h"

namespace fettle {
namespace {

// Characters a, b, c, space and the merge "a b".
Json small_bpe() {
  return Json::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "▁": 4},
                                  "merges": ["a b"]}})");
}
Json small_word_piece() {
  return Json::parse(
      R"({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1, "##b": 2}},
                         "pre_tokenizer": {"type": "BertPreTokenizer"}})");
}

class HostileTokenizer : public ::testing::Test {
 protected:
  std::shared_ptr<const Tokenizer> load(const Json& json) {
    std::filesystem::path file = folder_ / "tokenizer.json";
    test::write_text(file, json.dump());
    return load_tokenizer_file(file);
  }
  std::string error_of(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "no error";
  }
  // The message of refusing a change to the small BPE tokenizer.
  std::string refusal(const std::function<void(Json&)>& change) {
    Json json = small_bpe();
    change(json);
    return error_of([&] { load(json); });
  }
  std::string model_refusal(const std::string& bytes) {
    return error_of([&] { parse_sentencepiece_model(bytes, "x.model"); });
  }
  test::TempDir folder_;
};

#define EXPECT_MENTIONS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(HostileTokenizer, IdsOfTheVocabulary) {  // 59
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"]["b"] = 0; }), "gives id 0 to");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"]["b"] = int64_t{1} << 31; }), "expected an id");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"]["b"] = -1; }), "expected an id");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"]["b"] = 1.5; }), "expected an id");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"]["b"] = 200'000'000; }), "and the id 200000000");
  Json gap = small_bpe();
  gap["model"]["vocab"]["c"] = 20;
  EXPECT_EQ(load(gap)->encode("c", false), std::vector<TokenId>{20});
}

TEST_F(HostileTokenizer, MergesWithoutTokens) {  // 60, 61
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["merges"].push_back("a zz"); }), "model.merges[1]");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["merges"].push_back("b c"); }), "\"bc\"");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["merges"].push_back("ab"); }), "a space between");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["merges"].push_back({"a"}); }), "neither");
}

TEST_F(HostileTokenizer, LargeVocabulary) {  // 62
  Json json = small_bpe();
  for (int i = 0; i < 200'000; ++i) json["model"]["vocab"]["token" + std::to_string(i)] = 5 + i;
  EXPECT_EQ(load(json)->vocab_size(), 200'005);
}

TEST_F(HostileTokenizer, RegularExpressions) {  // 63
  auto with_pattern = [](const std::string& pattern) {
    Json json = small_bpe();
    json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    return json;
  };
  std::string runs(4000, 'a');
  runs += "b";
  for (const char* pattern : {"(a+)+$", "(.*)*$", "(a|aa)+$", "(a*)*c"}) {
    std::string outcome = error_of([&] { load(with_pattern(pattern))->encode(runs, false); });
    EXPECT_TRUE(outcome == "no error" || outcome.find("too many steps") != std::string::npos) << outcome;
  }
  EXPECT_MENTIONS(error_of([&] { load(with_pattern(std::string(100'000, 'a'))); }), "16384");
  EXPECT_MENTIONS(error_of([&] { load(with_pattern("(a")); }), "not supported");
}

TEST_F(HostileTokenizer, ReplacementsThatExplode) {  // 64
  Json json = small_bpe();
  json["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1 << 20, 'b')}};
  auto tokenizer = load(json);
  EXPECT_MENTIONS(error_of([&] { tokenizer->encode(std::string(1000, 'a'), false); }), "Replace");
}

TEST_F(HostileTokenizer, CharacterMaps) {  // 65
  auto refuse = [&](const std::string& map) {
    return refusal([&](Json& j) {
      j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", map}};
    });
  };
  EXPECT_MENTIONS(refuse("!!!"), "base64");
  EXPECT_MENTIONS(refuse(""), "at least 4");
  EXPECT_MENTIONS(refuse(encode_base64(std::string("\xFF\xFF\xFF\x7F", 4) + "xxxx")), "4 are there");
  // One unit that claims a leaf far away.
  std::string trie("\x04\0\0\0\0\xFD\xFF\x7F", 8);
  EXPECT_MENTIONS(refuse(encode_base64(trie + "ab")), "points outside");
}

TEST_F(HostileTokenizer, AddedTokens) {  // 66
  auto refuse = [&](const Json& token) { return refusal([&](Json& j) { j["added_tokens"] = {token}; }); };
  EXPECT_MENTIONS(refuse({{"id", 9}, {"content", ""}}), "empty");
  EXPECT_MENTIONS(refuse({{"id", 9}, {"content", std::string(1 << 20, 'x')}}), "longer than 65536");
  EXPECT_MENTIONS(refuse({{"id", 100'000'000}, {"content", "x"}}), "far beyond");
  EXPECT_MENTIONS(refuse({{"id", -1}, {"content", "x"}}), "expected an id");
  EXPECT_MENTIONS(refuse({{"content", "x"}}), "expected id and content");
  EXPECT_MENTIONS(refuse({{"id", 9}, {"content", "x"}, {"lstrip", "yes"}}), "lstrip");
}

TEST_F(HostileTokenizer, ChainsOfPrefixes) {  // 67
  Json json = small_bpe();
  json["added_tokens"] = Json::array();
  for (int length = 1; length <= 2000; ++length)
    json["added_tokens"].push_back(
        {{"id", 10 + length}, {"content", std::string(static_cast<size_t>(length), '<')}});
  auto tokenizer = load(json);
  std::vector<TokenId> ids = tokenizer->encode(std::string(1 << 20, '<'), false);
  EXPECT_EQ(ids.size(), (size_t{1} << 20) / 2000 + 1);
  EXPECT_EQ(ids[0], 2010);
}

TEST_F(HostileTokenizer, PostProcessors) {  // 68
  EXPECT_MENTIONS(refusal([](Json& j) {
                    j["post_processor"] = Json::parse(R"({"type": "TemplateProcessing", "special_tokens": {},
                      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "pair": []})");
                  }),
                  "\"<s>\", which special_tokens lacks");
  EXPECT_MENTIONS(refusal([](Json& j) {
                    j["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"x", "y"}}};
                  }),
                  "cls");
  EXPECT_MENTIONS(refusal([](Json& j) { j["post_processor"] = {{"type", "Magic"}}; }), "Magic");
}

TEST_F(HostileTokenizer, ByteLevelWithOtherCharacters) {  // 69
  // Tokens outside of the byte alphabet are never found in a text; what is left of it has no ids.
  Json json = small_bpe();
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  json["decoder"] = {{"type", "ByteLevel"}};
  auto tokenizer = load(json);
  EXPECT_EQ(tokenizer->encode("ab\xE2\x96\x81", false), std::vector<TokenId>{3});
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{3, 4}, false), "ab▁");
}

TEST_F(HostileTokenizer, Texts) {  // 70
  Json byte_fallback = small_bpe();
  for (int b = 0; b < 256; ++b) byte_fallback["model"]["vocab"][fmt::format("<0x{:02X}>", b)] = 10 + b;
  byte_fallback["model"]["byte_fallback"] = true;
  byte_fallback["decoder"] =
      Json::parse(R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})");
  auto tokenizer = load(byte_fallback);
  // Invalid UTF-8 is read as U+FFFD, as Rust's from_utf8_lossy does it; everything else comes back.
  for (const std::string& text : {std::string("a\0b", 3), std::string("\x01\x7F"), std::string(100'000, '^'),
                                  std::string("\xF4\x8F\xBF\xBF")})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false), false), text);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xED\xA0\x80z\xFF", false), false),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{-1, 99999, 3}, false), "ab");
  // A word of a megabyte is no harder than a megabyte of words.
  EXPECT_EQ(load(small_word_piece())->encode(std::string(1 << 20, 'b'), false), std::vector<TokenId>{0});
}

// Transformers sets both anew at every call, so what a file says of them changes nothing.
TEST_F(HostileTokenizer, TruncationAndPaddingOfTheFile) {
  Json json = small_bpe();
  json["truncation"] = {
      {"direction", "Right"}, {"max_length", 1}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 8}}}, {"direction", "Right"}, {"pad_id", 2}, {"pad_token", "c"}};
  EXPECT_EQ(load(json)->encode("abab", true), (std::vector<TokenId>{3, 3}));
}

TEST_F(HostileTokenizer, Shapes) {
  EXPECT_MENTIONS(error_of([&] { load(Json::array()); }), "model is missing");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["type"] = "Magic"; }), "Magic");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["vocab"] = Json::array(); }), "model.vocab is missing");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["byte_fallback"] = "yes"; }), "byte_fallback");
  EXPECT_MENTIONS(refusal([](Json& j) { j["model"]["dropout"] = 0.1; }), "dropout");
  EXPECT_MENTIONS(refusal([](Json& j) {
                    Json deep = {{"type", "NFC"}};
                    for (int i = 0; i < 100; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
                    j["normalizer"] = deep;
                  }),
                  "32 deep");
  Json unigram = Json::parse(R"({"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", -1]]}})");
  EXPECT_MENTIONS(error_of([&] { load(unigram); }), "unk_id is 7");
  Json no_unk = small_word_piece();
  no_unk["model"]["vocab"].erase("[UNK]");
  EXPECT_MENTIONS(error_of([&] { load(no_unk); }), "unk_token");
  EXPECT_MENTIONS(error_of([&] { load_tokenizer(folder_.path() / "nothing"); }), "no tokenizer found");
}

// --- SentencePiece models
// -----------------------------------------------------------------------------------

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string field(int number, const std::string& content) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(content.size()) + content;
}
std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
std::string score(float value) {
  return varint(2 << 3 | 5) + std::string(reinterpret_cast<const char*>(&value), 4);
}
std::string piece(const std::string& text, float value, int kind) {
  return field(1, field(1, text) + score(value) + field(3, static_cast<uint64_t>(kind)));
}

TEST_F(HostileTokenizer, SmallSentencePieceModelWorks) {
  std::string bytes = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("▁a", -1, 1) + piece("b", -2, 1);
  SentencePieceModel model = parse_sentencepiece_model(bytes, "x.model");
  ASSERT_EQ(model.pieces.size(), 4u);
  std::filesystem::path file = folder_ / "x.model";
  test::write_text(file, bytes);
  auto tokenizer = load_tokenizer_file(file);
  EXPECT_EQ(tokenizer->encode("ab x", false), (std::vector<TokenId>{2, 3, 0}));
  EXPECT_EQ(tokenizer->bos_id(), 1);
}

TEST_F(HostileTokenizer, DamagedProtocolBuffers) {  // 71, 72, 73, 78
  std::string whole = piece("<unk>", 0, 2) + piece("abc", -1, 1);
  for (size_t size = 1; size < whole.size(); ++size) {
    // Cut between two fields it is a shorter model, anywhere else it is damage.
    std::string outcome = error_of([&] { parse_sentencepiece_model(whole.substr(0, size), "x.model"); });
    if (size != piece("<unk>", 0, 2).size()) {
      EXPECT_MENTIONS(outcome, "byte") << size;
    }
  }
  EXPECT_MENTIONS(model_refusal(std::string(11, '\xFF')), "more than ten bytes at byte 0");
  EXPECT_MENTIONS(model_refusal(varint(1 << 3 | 2) + varint(~uint64_t{0})), "longer than what holds it");
  EXPECT_MENTIONS(model_refusal(field(1, std::string("\x0A\x7F") + "x")),
                  "longer than what holds it at byte 2");
  EXPECT_MENTIONS(model_refusal(std::string(100'000, '\x0B')), "nested too deep");
  EXPECT_MENTIONS(model_refusal(std::string("\x07")), "impossible number");
  EXPECT_MENTIONS(model_refusal(""), "no pieces");
}

TEST_F(HostileTokenizer, ManyPieces) {  // 74
  std::string unknown = piece("<unk>", 0, 2);
  // A count is never announced in this format: pieces are read one by one, and each must bring a text.
  EXPECT_MENTIONS(model_refusal(unknown + std::string(20'000, '\x0A')), "byte");
  EXPECT_MENTIONS(model_refusal(unknown + field(1, "")), "piece 1 is empty");
}

TEST_F(HostileTokenizer, PiecesThatMakeNoSense) {  // 75, 76
  std::string unknown = piece("<unk>", 0, 2);
  EXPECT_MENTIONS(model_refusal(unknown + piece("a", NAN, 1)), "score of piece 1");
  EXPECT_MENTIONS(model_refusal(unknown + piece("a", INFINITY, 1)), "score of piece 1");
  EXPECT_MENTIONS(model_refusal(piece("a", 0, 1)), "no unknown piece");
  EXPECT_MENTIONS(model_refusal(unknown + unknown), "pieces 0 and 1 are both");
  EXPECT_MENTIONS(model_refusal(unknown + piece("a", 0, 9)), "unknown type 9");
  EXPECT_MENTIONS(model_refusal(unknown + piece("\xFF", 0, 1)), "not UTF-8");
  EXPECT_MENTIONS(model_refusal(unknown + field(2, field(3, uint64_t{3}))), "word and char");
}

TEST_F(HostileTokenizer, CharacterMapsOfModels) {  // 77
  std::string unknown = piece("<unk>", 0, 2);
  std::string trie("\x04\0\0\0\0\xFD\xFF\x7F", 8);
  EXPECT_MENTIONS(model_refusal(unknown + field(3, field(2, trie))), "points outside");
  EXPECT_MENTIONS(model_refusal(unknown + field(3, field(2, std::string("\x10\0\0\0", 4)))), "says 16 bytes");
}

}  // namespace
}  // namespace fettle
