// fettle tokenize, from the command line: as many lines out as in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string model() {
  return (source_dir() / "examples/quickstart/base").string();
}

int64_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

ProcessResult tokenize(const std::string& input, std::vector<std::string> words = {}) {
  words.insert(words.begin(), {"tokenize", "--model", model()});
  return run_fettle(words, {}, input);
}

TEST(Tokenize, EveryLineHasItsLine) {
  std::string input = "hello\n\n  two  \nlast without end";
  ProcessResult result = tokenize(input);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(lines(result.out), 4);
  EXPECT_THAT(result.out, HasSubstr("]\n[]\n["));
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_EQ(tokenize("").out, "");
  EXPECT_EQ(tokenize("\n\n").out, "[]\n[]\n");
  EXPECT_EQ(tokenize("hello\r\n\r\nlast\r\n").out, tokenize("hello\n\nlast\n").out) << "CRLF ends a line";
  EXPECT_NE(tokenize("a\rb\n").out, tokenize("ab\n").out) << "a lone CR is text";
}

TEST(Tokenize, FilesAreReadLikeStandardInput) {
  TempDir dir;
  std::string text;
  for (int i = 0; i < 10000; ++i) text += "line " + std::to_string(i) + "\n";
  write_text(dir / "x.txt", text);
  ProcessResult file = run_fettle({"tokenize", "--model", model(), (dir / "x.txt").string()});
  EXPECT_EQ(file.code, 0) << file.err;
  EXPECT_EQ(lines(file.out), 10000);
  EXPECT_EQ(file.out, tokenize(text, {"--no-special"}).out) << "this tokenizer adds nothing";
  ProcessResult back = tokenize(file.out, {"--decode"});
  EXPECT_EQ(back.out, text);
}

TEST(Tokenize, WrongLinesAreSaid) {
  ProcessResult result = tokenize("ok\n\xff\xfe bad\nok\n");
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(lines(result.out), 3);
  EXPECT_THAT(result.err, HasSubstr("1 lines are not valid UTF-8"));
  std::string first = tokenize("ok\n").out;
  result = tokenize(first + "[1, \"x\"]\n", {"--decode"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.out, "ok\n") << "what comes before is printed";
  EXPECT_THAT(result.err, HasSubstr("-:2: holds \"x\", expected token ids"));
  EXPECT_THAT(tokenize("[99999999999]\n", {"--decode"}).err, HasSubstr("expected token ids"));
  EXPECT_EQ(tokenize("[-1]\n", {"--decode"}).code, 3);
}

TEST(Tokenize, DecodedTextsMayHoldLineBreaks) {
  ProcessResult ids = tokenize("\"one\\ntwo\"\n\"\"\n", {"--json"});
  EXPECT_EQ(lines(ids.out), 2) << ids.err;
  ProcessResult plain = tokenize(ids.out, {"--decode"});
  EXPECT_EQ(plain.out, "one\ntwo\n\n");
  EXPECT_THAT(plain.err, HasSubstr("1 texts hold line breaks"));
  EXPECT_EQ(tokenize(ids.out, {"--decode", "--json"}).out, "\"one\\ntwo\"\n\"\"\n");
  EXPECT_EQ(tokenize("\n[]\n", {"--decode"}).out, "\n\n") << "nothing in, nothing out";
}

TEST(Tokenize, ConversationsAreRendered) {
  std::string row = R"({"messages":[{"role":"user","content":"hi"}]})";
  ProcessResult result = tokenize(row + "\n" + row + "\r\n", {"--template", "chatml"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(lines(result.out), 2);
  Json json = parse_json(result.out.substr(0, result.out.find('\n')), "out");
  EXPECT_EQ(json["text"], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(tokenize("{}\n", {"--template", "chatml"}).code, 3);
  // Tools and calls in OpenAI's layout; a call needs no content.
  result = tokenize(
      R"({"tools":[{"type":"function","function":{"name":"now","parameters":{}}}],"messages":[)"
      R"({"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"function":{"name":"now","arguments":"{}"}}]}]})"
      "\n",
      {"--template", "qwen"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("# Tools"), std::string::npos);
  EXPECT_NE(result.out.find(R"(<tool_call>\n{\"name\": \"now\")"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace fettle::test
