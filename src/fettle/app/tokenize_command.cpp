// fettle tokenize: ids of texts, texts of ids, or rendered conversations; one line in, one line out.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/text/chat.h"

namespace fettle::app {
namespace {

struct Flags {
  std::string model, file = "-", chat_template;
  bool no_special = false, decode = false, keep_special = false, render = false, json = false;
};

std::vector<TokenId> ids_of(const Json& json, const std::string& where) {
  if (!json.is_array()) fail_input("{}: expected a list of token ids", where);
  std::vector<TokenId> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer())
      fail_input("{}: holds {}, expected token ids", where, printable(id.dump(), 40));
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

Conversation conversation_of(const Json& row, const std::string& where) {
  const Json& messages = row.is_object() && row.contains("messages") ? row["messages"] : row;
  if (!messages.is_array()) fail_input("{}: expected {{\"messages\": […]}}", where);
  Conversation conversation;
  for (const Json& message : messages) {
    if (!message.is_object() || !message.value("role", Json()).is_string() ||
        !message.value("content", Json()).is_string())
      fail_input("{}: every message needs a role and a content", where);
    std::string role = message["role"], content = message["content"];
    if (role == "system")
      conversation.system = content;
    else if (role == "user")
      conversation.messages.push_back({Role::kUser, content});
    else if (role == "assistant")
      conversation.messages.push_back({Role::kAssistant, content});
    else if (role == "tool" || role == "observation")
      conversation.messages.push_back({Role::kObservation, content});
    else
      fail_input("{}: role \"{}\", expected system, user, assistant or tool", where, printable(role));
  }
  return conversation;
}

void run(const Flags& flags) {
  std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(flags.model);
  std::shared_ptr<const ChatTemplate> chat =
      flags.render ? make_chat_template(flags.chat_template, tokenizer) : nullptr;
  std::string content =
      flags.file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : read_file(flags.file);
  int64_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line(content.data() + begin, end - begin);
    begin = end + 1;
    std::string where = fmt::format("{}:{}", flags.file, ++number);
    if (flags.decode) {
      std::string text = tokenizer->decode(ids_of(parse_json(line, where), where), !flags.keep_special);
      if (flags.json) text = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
      fmt::print("{}\n", text);
    } else if (chat) {
      Conversation conversation = conversation_of(parse_json(line, where), where);
      std::vector<TokenId> ids;
      if (conversation.messages.empty()) fail_input("{}: no messages", where);
      if (conversation.messages.back().role == Role::kAssistant) {
        for (const EncodedTurn& turn : chat->encode_turns(conversation)) {
          ids.insert(ids.end(), turn.source.begin(), turn.source.end());
          ids.insert(ids.end(), turn.target.begin(), turn.target.end());
        }
      } else {
        ids = chat->encode_prompt(conversation);
      }
      OrderedJson out = {{"text", tokenizer->decode(ids, false)}, {"input_ids", ids}};
      fmt::print("{}\n", out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
    } else {
      std::string text(line);
      if (flags.json) {
        Json value = parse_json(line, where);
        if (!value.is_string()) fail_input("{}: expected a JSON string", where);
        text = value.get<std::string>();
      }
      fmt::print("[{}]\n", fmt::join(tokenizer->encode(text, !flags.no_special), ","));
    }
  }
}

}  // namespace

void add_tokenize(CLI::App& root) {
  CLI::App& command = add_command(
      root, "tokenize", "Token ids of each line, the text of ids, or rendered conversations", "Use a model");
  auto flags = std::make_shared<Flags>();
  command.add_option("-m,--model", flags->model, "Folder with the tokenizer")->type_name("DIR")->required();
  command.add_option("file", flags->file, "One text a line; standard input when absent");
  command.add_flag("--no-special", flags->no_special,
                   "Add no special tokens (those in the text are still recognised)");
  command.add_flag("--decode", flags->decode, "Lines are JSON lists of ids; print their text");
  command.add_flag("--json", flags->json,
                   "Texts are JSON strings, one a line, so that they may hold line breaks");
  command.add_flag("--keep-special", flags->keep_special, "With --decode: show special tokens");
  CLI::Option* chat = command
                          .add_option("-t,--template", flags->chat_template,
                                      "Lines are {\"messages\": […]}; render them with this template, "
                                      "or with the model's own when no name follows")
                          ->type_name("NAME")
                          ->expected(0, 1);
  command.callback([flags, chat] {
    flags->render = chat->count() > 0;
    run(*flags);
  });
}

}  // namespace fettle::app
