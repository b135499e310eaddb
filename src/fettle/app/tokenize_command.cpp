// fettle tokenize: ids of texts, texts of ids, or rendered conversations; one line in, one line out.
#include <atomic>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/base/utf8.h"
#include "fettle/data/forms/fields.h"
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
    if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > INT32_MAX)
      fail_input("{}: holds {}, expected token ids", where, printable(id.dump(), 40));
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

// {"messages": [{"role", "content", "tool_calls"}], "tools": […]}, or the list of messages alone.
Conversation conversation_of(const OrderedJson& row, const std::string& where) {
  Conversation conversation;
  try {
    if (row.is_object()) conversation.tools = tools_field(row, "tools");
    const bool listed = row.is_object() && has_field(row, "messages") && row["messages"].is_array();
    if (!row.is_array() && !listed) throw BadRow{"expected {\"messages\": […]}"};
    append_messages(listed ? row["messages"] : row, message_tags(), conversation);
  } catch (const BadRow& bad) {
    fail_input("{}: {}", where, bad.reason);
  }
  return conversation;
}

/// One line in, one line out; lines are independent of each other and done in parallel.
class LineWork {
 public:
  explicit LineWork(const Flags& flags)
      : flags_(flags),
        tokenizer_(load_tokenizer(flags.model)),
        chat_(flags.render ? make_chat_template(flags.chat_template, tokenizer_) : nullptr) {}

  /// The line to print, without its end.
  std::string operator()(std::string_view line, const std::string& where) {
    if (first_invalid_utf8(line) != line.npos) ++invalid_;
    if (flags_.decode) return decoded(line, where);
    return chat_ ? rendered(line, where) : ids(line, where);
  }

  /// What the user should know of lines that were not as they should be.
  void warn_of_lines() const {
    if (invalid_ > 0 && !flags_.decode)
      warn("{}: {} lines are not valid UTF-8; each wrong byte was read as U+FFFD", flags_.file,
           invalid_.load());
    if (broken_ > 0)
      warn("{}: {} texts hold line breaks and take several lines; --json keeps each on one", flags_.file,
           broken_.load());
  }

 private:
  std::string decoded(std::string_view line, const std::string& where) {
    std::string text;
    if (line.find_first_not_of(" \t") != line.npos)
      text = tokenizer_->decode(ids_of(parse_json(line, where), where), !flags_.keep_special);
    if (flags_.json) return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.find('\n') != text.npos) ++broken_;
    return text;
  }

  std::string rendered(std::string_view line, const std::string& where) const {
    Conversation conversation = conversation_of(parse_ordered_json(line, where), where);
    std::vector<TokenId> ids;
    if (conversation.messages.empty()) fail_input("{}: no messages", where);
    const Role last = conversation.messages.back().role;
    if (last == Role::kAssistant || last == Role::kFunction) {
      for (const EncodedTurn& turn : chat_->encode_turns(conversation)) {
        ids.insert(ids.end(), turn.source.begin(), turn.source.end());
        ids.insert(ids.end(), turn.target.begin(), turn.target.end());
      }
    } else {
      ids = chat_->encode_prompt(conversation);
    }
    OrderedJson out = {{"text", tokenizer_->decode(ids, false)}, {"input_ids", ids}};
    return out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }

  std::string ids(std::string_view line, const std::string& where) const {
    std::string text(line);
    if (flags_.json) {
      Json value = parse_json(line, where);
      if (!value.is_string()) fail_input("{}: expected a JSON string", where);
      text = value.get<std::string>();
    }
    return fmt::format("[{}]", fmt::join(tokenizer_->encode(text, !flags_.no_special), ","));
  }

  const Flags& flags_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> chat_;
  std::atomic<int64_t> invalid_ = 0, broken_ = 0;
};

/// Up to `most` lines of `content` from `begin` on, which moves behind them. The end of a line is \n or \r\n.
std::vector<std::string_view> take_lines(std::string_view content, size_t& begin, size_t most) {
  std::vector<std::string_view> lines;
  while (begin < content.size() && lines.size() < most) {
    size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line = content.substr(begin, end - begin);
    if (end < content.size() && line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    begin = end + 1;
  }
  return lines;
}

void run(const Flags& flags) {
  LineWork work(flags);
  std::string content =
      flags.file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : read_file(flags.file);
  constexpr size_t kBatch = 4096, kLong = size_t{16} << 20;
  Progress progress({.label = "tokenize",
                     .total = static_cast<int64_t>(content.size()),
                     .unit = "B",
                     .style = content.size() < kLong ? ProgressStyle::kSilent : ProgressStyle::kAutomatic});
  int64_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    std::vector<std::string_view> lines = take_lines(content, begin, kBatch);
    std::vector<std::string> out(lines.size());
    std::vector<std::exception_ptr> problems(lines.size());
    parallel_for(static_cast<int64_t>(lines.size()), [&](int64_t i) {
      size_t at = static_cast<size_t>(i);
      try {
        out[at] = work(lines[at], fmt::format("{}:{}", flags.file, number + i + 1));
      } catch (...) {
        problems[at] = std::current_exception();
      }
    });
    // What comes before a wrong line is printed.
    for (size_t i = 0; i < lines.size(); ++i) {
      if (problems[i]) std::rethrow_exception(problems[i]);
      std::fwrite(out[i].data(), 1, out[i].size(), stdout);
      std::fputc('\n', stdout);
    }
    number += static_cast<int64_t>(lines.size());
    progress.update(static_cast<int64_t>(std::min(begin, content.size())));
  }
  progress.finish();
  work.warn_of_lines();
}

}  // namespace

void add_tokenize(CLI::App& root) {
  CLI::App& command = add_command(
      root, "tokenize", "Token ids of each line, the text of ids, or rendered conversations", "Use a model");
  auto flags = std::make_shared<Flags>();
  command.add_option("-m,--model", flags->model, "Folder with the tokenizer")->type_name("DIR")->required();
  command.add_option("file", flags->file,
                     "One text a line (\\n or \\r\\n ends it); standard input when absent");
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
