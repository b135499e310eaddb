// The named templates against LLaMA-Factory's own encoder (tools/golden/make_llamafactory_templates.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/fakes.h"
#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/chat.h"
#include "fettle/text/template_table.h"
#include "support.h"

namespace fettle {
namespace {

/// Bytes as ids, and 3 for every token that a template names.
class NamingTokenizer final : public test::ByteTokenizer {
 public:
  std::optional<TokenId> token_to_id(std::string_view) const override { return 3; }
};

std::string shown(const std::vector<TokenId>& ids) {
  std::string out;
  for (TokenId id : ids)
    out += id >= 10 ? std::string(1, static_cast<char>(id - 10)) : fmt::format("<{}>", id);
  return out;
}

Conversation conversation_of(const Json& given) {
  Conversation conversation{.system = given["system"], .tools = given["tools"], .messages = {}};
  for (const Json& message : given["messages"]) {
    std::string text = message;
    Role role = text[0] == 'u'   ? Role::kUser
                : text[0] == 'a' ? Role::kAssistant
                : text[0] == 'f' ? Role::kFunction
                                 : Role::kObservation;
    conversation.messages.push_back({role, text.substr(2)});
  }
  return conversation;
}

TEST(LlamaFactoryTemplates, EveryNamedTemplateEncodesAsTheOriginal) {
  Json fixture = read_json(test::golden_dir() / "text" / "llamafactory_templates.json");
  auto tokenizer = std::make_shared<NamingTokenizer>();
  ChatTemplateOptions options;
  options.clock = [] {
    std::tm date{};
    date.tm_year = 124, date.tm_mon = 6, date.tm_mday = 26, date.tm_hour = 12, date.tm_wday = 5;
    return date;
  };
  int templates = 0, cases = 0;
  for (const auto& [name, rows] : fixture["templates"].items()) {
    if (!find_template(name)) continue;
    ++templates;
    auto chat = make_chat_template(name, tokenizer, options);
    for (const Json& row : rows) {
      SCOPED_TRACE(name + ": " + row["case"].get<std::string>());
      Conversation conversation = conversation_of(fixture["conversations"][row["case"].get<std::string>()]);
      std::vector<EncodedTurn> turns = chat->encode_turns(conversation);
      ASSERT_EQ(turns.size(), row["pairs"].size());
      EncodedTurn one = chat->encode_oneturn(conversation);
      EncodedTurn joined = joined_turns(turns);
      EXPECT_EQ(shown(one.source), row.contains("oneturn") ? row["oneturn"][0] : Json(shown(joined.source)));
      EXPECT_EQ(shown(one.target), row.contains("oneturn") ? row["oneturn"][1] : Json(shown(joined.target)));
      for (size_t i = 0; i < turns.size(); ++i) {
        EXPECT_EQ(shown(turns[i].source), row["pairs"][i][0].get<std::string>());
        EXPECT_EQ(shown(turns[i].target), row["pairs"][i][1].get<std::string>());
      }
      ++cases;
    }
  }
  EXPECT_GE(templates, 65);
  EXPECT_GE(cases, 380);
}

}  // namespace
}  // namespace fettle
