// The named templates: turns are lists of slots, tokenised one by one, as in LLaMA-Factory's Template class.

#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/text/chat_own.h"
#include "fettle/text/template_table.h"
#include "fettle/text/template_tools.h"

namespace fettle {
namespace {

std::string filled(std::string slot, std::string_view content) {
  size_t at = slot.find("{{content}}");
  if (at != slot.npos) slot.replace(at, 11, content);
  return slot;
}

std::string stripped(std::string text) {
  size_t begin = text.find_first_not_of(" \n\t"), end = text.find_last_not_of(" \n\t");
  return begin == text.npos ? "" : text.substr(begin, end - begin + 1);
}

class NamedTemplate final : public ChatTemplate {
 public:
  NamedTemplate(const TemplateSpec& spec, std::shared_ptr<const Tokenizer> tokenizer,
                const ChatTemplateOptions& options)
      : spec_(spec), tokenizer_(std::move(tokenizer)), options_(options) {
    if (!options_.tool_format.empty()) {
      std::vector<std::string> known = tool_format_names();
      if (std::find(known.begin(), known.end(), options_.tool_format) == known.end())
        fail_usage("tool_format \"{}\" is unknown; known: {}", printable(options_.tool_format),
                   fmt::join(known, ", "));
      spec_.tool_format = options_.tool_format;
    }
    if (options_.default_system) spec_.default_system = *options_.default_system;
    eos_ = tokenizer_->eos_id();
    if (spec_.replace_eos && !spec_.stop_words.empty())
      if (std::optional<TokenId> id = tokenizer_->token_to_id(spec_.stop_words[0])) eos_ = id;
    if (spec_.assistant.empty()) {
      spec_.assistant = {"{{content}}"};
      if (!spec_.efficient_eos) spec_.assistant.push_back(Slot(Slot::Kind::kEos));
    }
    if (spec_.function.empty()) spec_.function = spec_.assistant;
    if (spec_.observation.empty()) spec_.observation = spec_.user;
  }

  const std::string& name() const override { return spec_.name; }
  bool efficient_eos() const override { return spec_.efficient_eos; }

  std::vector<TokenId> stop_ids() const override {
    std::vector<TokenId> ids;
    if (eos_) ids.push_back(*eos_);
    for (const std::string& word : spec_.stop_words)
      if (std::optional<TokenId> id = tokenizer_->token_to_id(word); id && id != eos_) ids.push_back(*id);
    return ids;
  }

  std::vector<EncodedTurn> encode_turns(const Conversation& conversation) const override {
    return encode_turns(conversation, !options_.mask_history || options_.preserve_thinking);
  }

  EncodedTurn encode_oneturn(const Conversation& conversation) const override {
    return joined_turns(encode_turns(conversation, options_.preserve_thinking));
  }

  std::vector<TokenId> encode_prompt(const Conversation& conversation) const override {
    const std::vector<Message>& messages = conversation.messages;
    if (messages.size() % 2 != 1) fail_input("the conversation must end with a question");
    std::vector<TokenId> ids;
    for (size_t i = 0; i < messages.size(); i += 2) {
      append(ids, encode_question(conversation, i));
      if (i + 1 < messages.size()) {
        // Reasoning of earlier answers is not shown to the model again.
        std::string answer = spec_.reasoning && !options_.preserve_thinking
                                 ? without_thought(messages[i + 1].content)
                                 : messages[i + 1].content;
        append(ids, encode_answer(messages[i + 1].role, answer));
      }
    }
    if (spec_.reasoning && !options_.enable_thinking.value_or(false))
      append_text(ids, spec_.thought_begin + spec_.thought_end);
    return ids;
  }

 private:
  /// `whole`: answers before the last are treated as the last one.
  std::vector<EncodedTurn> encode_turns(const Conversation& conversation, bool whole) const {
    const std::vector<Message>& messages = conversation.messages;
    if (messages.size() % 2 != 0) fail_input("a conversation must end with an answer");
    std::vector<EncodedTurn> turns;
    for (size_t i = 0; i + 1 < messages.size(); i += 2) {
      EncodedTurn turn;
      turn.source = encode_question(conversation, i);
      std::string answer = messages[i + 1].content;
      bool last = i + 2 == messages.size();
      if (spec_.reasoning) {
        bool keep = options_.enable_thinking != false && (whole || last);
        if (!keep) answer = without_thought(answer);
        bool has_thought = answer.find(stripped(spec_.thought_begin)) != answer.npos ||
                           answer.find(stripped(spec_.thought_end)) != answer.npos;
        if (!has_thought && (whole || last)) {
          if (options_.enable_thinking.value_or(false))
            append_text(turn.target, spec_.thought_begin + spec_.thought_end);
          else
            append_text(turn.source, spec_.thought_begin + spec_.thought_end);
        }
      }
      append(turn.target, encode_answer(messages[i + 1].role, answer));
      turn.trained = messages[i + 1].trained;
      turns.push_back(std::move(turn));
    }
    return turns;
  }

  static void append(std::vector<TokenId>& ids, const std::vector<TokenId>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
  }
  void append_text(std::vector<TokenId>& ids, const std::string& text) const {
    append(ids, tokenizer_->encode(text, false));
  }

  // `literal`: the content comes from a message and not from the template.
  std::vector<TokenId> encode_slots(const Slots& slots, std::string_view content,
                                    bool literal = false) const {
    std::vector<TokenId> ids;
    for (const Slot& slot : slots) {
      switch (slot.kind) {
        case Slot::Kind::kText:
          if (const size_t at = slot.text.find("{{content}}");
              literal && options_.literal_content && at != slot.text.npos)
            append(ids, tokenizer_->encode_literally(filled(slot.text, content), at, at + content.size()));
          else
            append_text(ids, filled(slot.text, content));
          break;
        case Slot::Kind::kToken:
          if (std::optional<TokenId> id = tokenizer_->token_to_id(slot.text))
            ids.push_back(*id);
          else
            fail_usage("template {}: the tokenizer has no token {}; is this the model's template?",
                       spec_.name, slot.text);
          break;
        case Slot::Kind::kBos:
          if (std::optional<TokenId> id = tokenizer_->bos_id()) ids.push_back(*id);
          break;
        case Slot::Kind::kEos:
          if (eos_) ids.push_back(*eos_);
          break;
      }
    }
    return ids;
  }

  std::vector<TokenId> encode_question(const Conversation& conversation, size_t i) const {
    const Message& message = conversation.messages[i];
    if (message.role != Role::kUser && message.role != Role::kObservation)
      fail_input("message {} must be the user's or a tool's", i + 1);
    std::vector<TokenId> ids;
    std::string content = message.content;
    if (i == 0) {
      append(ids, encode_slots(spec_.prefix, ""));
      std::string system = conversation.system.empty() ? spec_.default_system : conversation.system;
      if (!conversation.tools.empty() && !spec_.tool_slot.empty()) {
        system += filled(spec_.tool_slot, conversation.tools);
      } else if (!conversation.tools.empty()) {
        std::time_t now = std::time(nullptr);
        std::tm local = options_.clock ? options_.clock() : *std::localtime(&now);
        system += describe_tools(spec_.tool_format, conversation.tools, local);
      }
      if (!system.empty() && spec_.system_in_user)
        content = filled(spec_.system.front().text, system) + content;
      else if (!system.empty())
        append(ids, encode_slots(spec_.system, system, conversation.tools.empty()));
    }
    append(ids, encode_slots(message.role == Role::kUser ? spec_.user : spec_.observation, content, true));
    return ids;
  }

  std::vector<TokenId> encode_answer(Role role, const std::string& content) const {
    if (role == Role::kFunction) return encode_slots(spec_.function, calls_text(content));
    if (role != Role::kAssistant) fail_input("an answer must be the assistant's or a function call");
    return encode_slots(spec_.assistant, content, true);
  }

  // The calls of a function turn as the model writes them, behind a thought where one stands before the JSON.
  std::string calls_text(const std::string& content) const {
    // [begin, end) of the first text between two words, and of what is between them.
    auto between = [&](std::string_view first, std::string_view last, size_t& begin, size_t& end) {
      begin = content.find(first);
      size_t close = begin == content.npos ? begin : content.find(last, begin + first.size());
      end = close == content.npos ? close : close + last.size();
      return close != content.npos;
    };
    constexpr std::string_view kCall = "<tool_call>", kCallEnd = "</tool_call>";
    size_t begin, end;
    if (!spec_.system_in_user && between(kCall, kCallEnd, begin, end)) {
      std::string_view calls = std::string_view(content).substr(begin + kCall.size(),
                                                                end - begin - kCall.size() - kCallEnd.size());
      return content.substr(0, begin) + content.substr(end) + write_calls(spec_.tool_format, calls);
    }
    if (!spec_.system_in_user && between(spec_.thought_begin, spec_.thought_end, begin, end))
      return content.substr(begin, end - begin) +
             write_calls(spec_.tool_format, content.substr(0, begin) + content.substr(end));
    return write_calls(spec_.tool_format, content);
  }

  // LLaMA-Factory's remove_thought: the exact newlines of the thought words count.
  std::string without_thought(const std::string& text) const {
    size_t begin = text.find(spec_.thought_begin);
    if (begin == text.npos) return text;
    size_t end = text.find(spec_.thought_end, begin + spec_.thought_begin.size());
    if (end == text.npos) return text;
    std::string rest = text.substr(0, begin) + text.substr(end + spec_.thought_end.size());
    size_t first = rest.find_first_not_of('\n');
    return first == rest.npos ? "" : rest.substr(first);
  }

  TemplateSpec spec_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatTemplateOptions options_;
  std::optional<TokenId> eos_;
};

}  // namespace

EncodedTurn joined_turns(std::vector<EncodedTurn> turns) {
  FETTLE_CHECK(!turns.empty(), "a conversation without answers");
  EncodedTurn last = std::move(turns.back());
  turns.pop_back();
  std::vector<TokenId> source;
  for (const EncodedTurn& turn : turns)
    for (const std::vector<TokenId>* ids : {&turn.source, &turn.target})
      source.insert(source.end(), ids->begin(), ids->end());
  last.source.insert(last.source.begin(), source.begin(), source.end());
  return last;
}

EncodedTurn ChatTemplate::encode_oneturn(const Conversation& conversation) const {
  return joined_turns(encode_turns(conversation));
}

std::vector<std::string> chat_template_names() {
  std::vector<std::string> names;
  for (const TemplateSpec& spec : template_table()) names.push_back(spec.name);
  return names;
}

std::shared_ptr<const ChatTemplate> make_chat_template(std::string_view name,
                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                       const ChatTemplateOptions& options) {
  if (name.empty()) return make_own_template(std::move(tokenizer), options);
  if (const TemplateSpec* spec = find_template(name))
    return std::make_shared<NamedTemplate>(*spec, std::move(tokenizer), options);
  std::vector<std::string> names = chat_template_names();
  std::string near = nearest(name, names);
  fail_usage("template \"{}\" is unknown{}; known: {}; leave it out to use the model's own", printable(name),
             near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near), fmt::join(names, ", "));
}

}  // namespace fettle
