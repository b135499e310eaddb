// Chat templates: the model's own against Transformers' renders, LLaMA-Factory's named ones against their
// specification.
#include "fettle/text/chat.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

std::shared_ptr<const Tokenizer> tokenizer(const std::string& name) {
  return load_tokenizer(test::assets_dir() / "tokenizers" / name);
}

Conversation conversation() {
  return {.system = "",
          .tools = "",
          .messages = {{Role::kUser, "Hi"},
                       {Role::kAssistant, "Hello."},
                       {Role::kUser, "你好"},
                       {Role::kAssistant, "你好！"}}};
}

// source and target texts, one pair after the other, with " | " between
std::string shown(const ChatTemplate& chat, const Tokenizer& t, const Conversation& c) {
  std::string out;
  for (const EncodedTurn& turn : chat.encode_turns(c))
    out += t.decode(turn.source, false) + " | " + t.decode(turn.target, false) + " | ";
  return out;
}

TEST(OwnTemplate, PromptsEqualTransformers) {
  FETTLE_REQUIRE_ASSETS();
  int64_t compared = 0;
  for (const char* name : {"qwen2.5", "qwen3", "deepseek-llm-7b-chat", "deepseek-r1-distill-qwen",
                           "llama2-7b-chat", "llama3-8b-instruct"}) {
    auto t = tokenizer(name);
    auto chat = make_chat_template("", t);
    std::istringstream lines(
        test::read_text(test::assets_dir() / "tokenizers" / name / "chat_vectors.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      Json row = parse_json(line, name);
      const Json& kwargs = row["kwargs"];
      if (!kwargs.value("add_generation_prompt", false) || kwargs.size() != 2 || !row.contains("ids"))
        continue;
      Conversation c;
      bool plain = true;
      for (const Json& message : kwargs["messages"]) {
        std::string role = message["role"];
        plain = plain && message.size() == 2 && message["content"].is_string();
        if (!plain) break;
        if (role == "system" && c.messages.empty())
          c.system = message["content"];
        else if (role == "user")
          c.messages.push_back({Role::kUser, message["content"]});
        else if (role == "assistant")
          c.messages.push_back({Role::kAssistant, message["content"]});
        else
          plain = false;
      }
      if (!plain) continue;
      EXPECT_EQ(chat->encode_prompt(c), row["ids"].get<std::vector<TokenId>>()) << name << " " << row["case"];
      ++compared;
    }
  }
  EXPECT_GT(compared, 10);
}

TEST(OwnTemplate, AnswersAndTheirEndsAreLearned) {
  FETTLE_REQUIRE_ASSETS();
  auto t = tokenizer("qwen2.5");
  auto chat = make_chat_template("", t);
  EXPECT_EQ(shown(*chat, *t, conversation()),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n | Hello.<|im_end|>\n | "
            "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n | 你好！<|im_end|>\n | ");
  EXPECT_EQ(chat->stop_ids()[0], *t->token_to_id("<|im_end|>"));
}

TEST(OwnTemplate, ReasoningThatTheTemplateDropsIsKeptAndNoticed) {
  FETTLE_REQUIRE_ASSETS();
  for (const char* name : {"deepseek-r1-distill-qwen", "qwen3"}) {
    auto t = tokenizer(name);
    auto chat = make_chat_template("", t);
    Conversation c = conversation();
    c.messages[1].content = "<think>\nfirst thought\n</think>\n\nHello.";
    c.messages[3].content = "<think>\nsecond thought\n</think>\n\n你好！";
    std::string text = shown(*chat, *t, c);
    EXPECT_NE(text.find("first thought\n</think>\n\nHello."), text.npos) << text;
    EXPECT_NE(text.find("second thought\n</think>\n\n你好！"), text.npos) << text;
    EXPECT_EQ(text.find("<think>\n\n</think>"), text.npos) << text;
    size_t thoughts = 0;
    for (size_t at = text.find("<think>"); at != text.npos; at = text.find("<think>", at + 1)) ++thoughts;
    EXPECT_EQ(thoughts, 2u) << text;
    EXPECT_EQ(chat->notices().size(), std::string_view(name) == "qwen3" ? chat->notices().size() : 1u);
  }
}

// Rendered by transformers 5.23 (apply_chat_template with tool_calls), cut where answers begin and end.
TEST(OwnTemplate, FunctionCallsAreLearnedAsTheTemplateWritesThem) {
  FETTLE_REQUIRE_ASSETS();
  Conversation c{
      .system = "",
      .tools =
          R"([{"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])",
      .messages = {{Role::kUser, "Time?"},
                   {Role::kFunction, R"({"name": "clock", "arguments": {"city": "Bonn"}})"},
                   {Role::kObservation, "12:00"},
                   {Role::kAssistant, "Noon."}}};
  const std::string tools =
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
      "function signatures within <tools></tools> XML tags:\n<tools>\n{\"type\": \"function\", \"function\": "
      "{\"name\": \"clock\", \"description\": \"The time\", \"parameters\": {\"type\": \"object\", "
      "\"properties\": {\"city\": {\"type\": \"string\"}}}}}\n</tools>\n\nFor each function call, return a "
      "json "
      "object with function name and arguments within <tool_call></tool_call> XML "
      "tags:\n<tool_call>\n{\"name\": "
      "<function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";
  const std::string turns =
      "<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n | <tool_call>\n{\"name\": \"clock\", "
      "\"arguments\": {\"city\": \"Bonn\"}}\n</tool_call><|im_end|>\n | "
      "<|im_start|>user\n<tool_response>\n12:00\n</tool_response><|im_end|>\n<|im_start|>assistant\n";
  auto qwen2 = tokenizer("qwen2.5"), qwen3 = tokenizer("qwen3");
  EXPECT_EQ(shown(*make_chat_template("", qwen2), *qwen2, c),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n\n" +
                tools + turns + " | Noon.<|im_end|>\n | ");
  EXPECT_EQ(shown(*make_chat_template("", qwen3), *qwen3, c),
            "<|im_start|>system\n" + tools + turns + "<think>\n\n</think>\n\n | Noon.<|im_end|>\n | ");
  // Llama 3's template leaves calls out, without a word.
  EXPECT_THROW(make_chat_template("", tokenizer("llama3-8b-instruct"))->encode_turns(c), Error);
  c.messages[1].content = "no json";
  EXPECT_THROW(make_chat_template("", qwen2)->encode_turns(c), Error);
}

TEST(OwnTemplate, ArgumentsAreTextForTemplatesThatJoinThem) {
  test::TempDir folder;
  Json vocabulary = {
      {"model", {{"type", "BPE"}, {"vocab", {{"\u0120", 0}}}, {"merges", Json::array()}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}};
  for (int c = 33; c < 127; ++c) vocabulary["model"]["vocab"][std::string(1, static_cast<char>(c))] = c;
  test::write_text(folder / "tokenizer.json", vocabulary.dump());
  test::write_text(
      folder / "chat_template.jinja",
      "{% for m in messages %}{{ m.role[0] }}:{% if m.tool_calls %}{% for t in m.tool_calls %}{{ "
      "t.function.name + '=' + t.function.arguments }};{% endfor %}{% else %}{{ m.content }}.{% endif %}"
      "{% endfor %}");
  auto t = load_tokenizer(folder.path());
  Conversation c{.system = "",
                 .tools = "",
                 .messages = {{Role::kUser, "x"},
                              {Role::kFunction, R"([{"name": "f", "arguments": {"a": 1}}, {"name": "g"}])"},
                              {Role::kObservation, "y"},
                              {Role::kAssistant, "z"}}};
  EXPECT_EQ(shown(*make_chat_template("", t), *t, c), R"(u:x.a: | f={"a": 1};g={}; | t:y.a: | z. | )");
}

TEST(NamedTemplate, WritesLlamaFactorysSlots) {
  FETTLE_REQUIRE_ASSETS();
  struct Case {
    const char *name, *tokenizer, *expected;
  };
  for (const Case& c : {
           Case{"qwen", "qwen2.5",
                "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                "<|im_start|>assistant\n | Hello.<|im_end|>\n | "
                "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n | 你好！<|im_end|>\n | "},
           Case{"chatml", "qwen2.5",
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n | Hello.<|im_end|>\n | "
                "<|im_start|>user\n你好<|im_end|>\n"
                "<|im_start|>assistant\n | 你好！<|im_end|>\n | "},
           Case{"default", "qwen2.5",
                "Human: Hi<|im_end|>\nAssistant: | Hello.<|im_end|>\n | Human: 你好<|im_end|>\nAssistant: | "
                "你好！<|im_end|>\n | "},
           Case{"deepseek", "deepseek-llm-7b-chat",
                "<｜begin▁of▁sentence｜>User: Hi\n\nAssistant: | Hello.<｜end▁of▁sentence｜> | User: "
                "你好\n\nAssistant: | 你好！<｜end▁of▁sentence｜> | "},
           Case{"deepseekr1", "deepseek-r1-distill-qwen",
                "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜> | "
                "<think>\n\n</think>\n\nHello.<｜end▁of▁sentence｜> | <｜User｜>你好<｜Assistant｜> | "
                "<think>\n\n</think>\n\n你好！<｜end▁of▁sentence｜> | "},
           Case{"llama3", "llama3-8b-instruct",
                "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>"
                "assistant<|end_header_id|>\n\n | "
                "Hello.<|eot_id|> | "
                "<|start_header_id|>user<|end_header_id|>\n\n你好<|eot_id|><|start_header_id|>assistant<|end_"
                "header_id|>\n\n | "
                "你好！<|eot_id|> | "},
           Case{"llama2", "llama2-7b-chat",
                "<s> [INST] Hi [/INST] | Hello.</s> | <s> [INST] 你好 [/INST] | 你好！</s> | "},
       }) {
    auto t = tokenizer(c.tokenizer);
    EXPECT_EQ(shown(*make_chat_template(c.name, t), *t, conversation()), c.expected) << c.name;
  }
}

// What a user writes does not end his turn.
TEST(NamedTemplate, SpecialTokensInMessagesCanBeText) {  // 88
  FETTLE_REQUIRE_ASSETS();
  for (const char* folder : {"qwen2.5", "llama3-8b-instruct", "deepseek-llm-7b-chat"}) {
    auto tokenizer = load_tokenizer(test::assets_dir() / "tokenizers" / folder);
    const std::string end = tokenizer->id_to_token(*tokenizer->eos_id());
    const std::string name = std::string(folder) == "qwen2.5"              ? "qwen"
                             : std::string(folder) == "llama3-8b-instruct" ? "llama3"
                                                                           : "deepseek";
    Conversation plain{
        .system = "", .tools = "", .messages = {{Role::kUser, "a b"}, {Role::kAssistant, "c"}}};
    Conversation hostile = plain;
    hostile.messages[0].content = "a " + end + " b";
    auto controls = [&](const Conversation& conversation, bool literal) {
      ChatTemplateOptions options;
      options.literal_content = literal;
      EncodedTurn turn =
          joined_turns(make_chat_template(name, tokenizer, options)->encode_turns(conversation));
      turn.source.insert(turn.source.end(), turn.target.begin(), turn.target.end());
      if (literal) {
        const std::string& content = conversation.messages[0].content;
        EXPECT_NE(tokenizer->decode(turn.source, false).find(content), std::string::npos) << content;
      }
      return std::count_if(turn.source.begin(), turn.source.end(),
                           [&](TokenId id) { return tokenizer->is_special(id); });
    };
    EXPECT_EQ(controls(hostile, false), controls(plain, false) + 1) << "as Transformers reads it";
    EXPECT_EQ(controls(hostile, true), controls(plain, true));
    EXPECT_EQ(controls(plain, true), controls(plain, false));
  }
  // What encode_special_tokens of `tokenizers` gives.
  auto qwen = load_tokenizer(test::assets_dir() / "tokenizers" / "qwen2.5");
  EXPECT_EQ(qwen->encode_literally("<|im_end|>", 0, 10), (std::vector<TokenId>{27, 91, 318, 6213, 91, 29}));
  EXPECT_EQ(qwen->encode_literally("<|im_end|><|im_end|>", 0, 10).back(), *qwen->token_to_id("<|im_end|>"));
}

TEST(NamedTemplate, ThinkingSwitch) {
  FETTLE_REQUIRE_ASSETS();
  auto t = tokenizer("qwen3");
  Conversation c = conversation();
  c.messages.resize(2);
  auto text = [&](std::optional<bool> thinking) {
    ChatTemplateOptions options;
    options.enable_thinking = thinking;
    return shown(*make_chat_template("qwen3", t, options), *t, c);
  };
  std::string question = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(text(true), question + " | <think>\n\n</think>\n\nHello.<|im_end|>\n | ");
  EXPECT_EQ(text(false), question + "<think>\n\n</think>\n\n | Hello.<|im_end|>\n | ");
}

TEST(NamedTemplate, UnknownNamesAreRefusedWithTheNearest) {
  FETTLE_REQUIRE_ASSETS();
  try {
    make_chat_template("qwn", tokenizer("qwen2.5"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("did you mean \"qwen\""), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_chat_template("", tokenizer("gpt2")), Error);
}

TEST(OwnTemplate, GenerationBlocksSayWhatIsLearned) {
  test::TempDir folder;
  test::write_text(
      folder / "tokenizer.json",
      R"({"model": {"type": "BPE", "vocab": {"Ġ": 0}, "merges": []}, "decoder": {"type": "ByteLevel"},
                       "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}})");
  Json vocabulary = read_json(folder / "tokenizer.json");
  for (int c = 33; c < 127; ++c) vocabulary["model"]["vocab"][std::string(1, static_cast<char>(c))] = c;
  test::write_text(folder / "tokenizer.json", vocabulary.dump());
  auto with_template = [&](const std::string& text) {
    test::write_text(folder / "chat_template.jinja", text);
    auto t = load_tokenizer(folder.path());
    return std::pair(make_chat_template("", t), t);
  };
  auto [chat, t] = with_template(
      "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}.{% "
      "endgeneration %}"
      "{% else %}Q:{{ m.content }}{% endif %}{% endfor %}");
  Conversation c{
      .system = "",
      .tools = "",
      .messages = {
          {Role::kUser, "a"}, {Role::kAssistant, "b", false}, {Role::kUser, "c"}, {Role::kAssistant, "d"}}};
  EXPECT_EQ(shown(*chat, *t, c), "Q:aA: | b. | Q:cA: | d. | ");
  std::vector<EncodedTurn> turns = chat->encode_turns(c);
  EXPECT_FALSE(turns[0].trained);
  EXPECT_TRUE(turns[1].trained);
  // A template that leaves an answer out is refused, with or without blocks.
  for (const char* text :
       {"{% for m in messages %}{% if loop.last %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endif %}{% endfor %}",
        "{{ messages[0].content }}"}) {
    auto [dropping, other] = with_template(text);
    EXPECT_THROW(dropping->encode_turns(c), Error) << text;
  }
}

}  // namespace
}  // namespace fettle
