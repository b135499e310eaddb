// Where a template puts each answer is found by rendering the conversation with marks in place of the
// answers. What stands before a mark is read, the answer itself and what the template writes behind a final
// answer (its end token) is learned. So text that a template would drop from an answer, such as reasoning, is
// still trained. Function calls are learned as the template writes them.
#include "fettle/text/chat_own.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/jinja/jinja.h"
#include "fettle/text/template_tools.h"

namespace fettle {
namespace {

constexpr const char* kEmptyThought = "<think>\n\n</think>\n\n";

std::string mark(size_t i) {
  return fmt::format(
      "\xE2\x9F\xAA"
      "answer{}\xE2\x9F\xAB",
      i);
}

// How the arguments of a function call are given to a template.
enum class ArgumentForm { kObject, kText };

// The calls of a message in the form of OpenAI's and Transformers' messages.
OrderedJson calls_of(const Message& message, ArgumentForm form) {
  OrderedJson given = parse_ordered_json(message.content, "function call");
  if (!given.is_array()) given = OrderedJson::array({given});
  if (given.empty()) fail_input("function call: found an empty list, expected calls");
  OrderedJson calls = OrderedJson::array();
  for (const OrderedJson& call : given) {
    if (!call.is_object() || !call.contains("name") || !call["name"].is_string())
      fail_input("function call: found {}, expected an object with name and arguments",
                 printable(call.dump(), 80));
    OrderedJson arguments = call.value("arguments", OrderedJson::object());
    if (arguments.is_string() && form == ArgumentForm::kObject)
      if (OrderedJson parsed = OrderedJson::parse(arguments.get<std::string>(), nullptr, false);
          !parsed.is_discarded())
        arguments = parsed;
    if (!arguments.is_string() && form == ArgumentForm::kText) arguments = python_json(arguments);
    calls.push_back({{"type", "function"}, {"function", {{"name", call["name"]}, {"arguments", arguments}}}});
  }
  return calls;
}

class OwnTemplate final : public ChatTemplate {
 public:
  OwnTemplate(std::shared_ptr<const Tokenizer> tokenizer, const ChatTemplateOptions& options)
      : tokenizer_(std::move(tokenizer)), options_(options), template_(tokenizer_->chat_template()) {}

  const std::string& name() const override { return name_; }

  std::vector<EncodedTurn> encode_turns(const Conversation& conversation) const override {
    const std::vector<Message>& messages = conversation.messages;
    if (messages.size() % 2 != 0) fail_input("a conversation must end with an answer");
    if (template_.has_generation()) return encode_generation_spans(conversation);
    Conversation marked = conversation;
    for (size_t i = 1; i < messages.size(); i += 2)
      if (messages[i].role == Role::kAssistant) marked.messages[i].content = mark(i);
    std::vector<EncodedTurn> turns;
    std::string whole = render(marked, messages.size(), false), tail;
    size_t at = 0;
    for (size_t i = 1; i < messages.size(); i += 2) {
      if (messages[i].role == Role::kFunction) {
        const std::string calls = text_of_calls(marked, i);
        const size_t begin = whole.find(calls, at);
        if (begin == whole.npos)
          fail_input(
              "the model's chat template writes function call {} of the conversation in another way once it "
              "goes on; name another template",
              i / 2 + 1);
        std::string before = whole.substr(at, begin - at);
        if (!tail.empty() && before.starts_with(tail)) before.erase(0, tail.size());
        at = begin + calls.size();
        tail.clear();
        turns.push_back(
            {tokenizer_->encode(before, false), tokenizer_->encode(calls, false), messages[i].trained});
        continue;
      }
      size_t found = whole.find(mark(i), at);
      if (found == whole.npos)
        fail_input(
            "the model's chat template does not write answer {} of the conversation; name another template",
            i / 2 + 1);
      std::string before = whole.substr(at, found - at);
      // The end of the previous answer was learned with it.
      if (!tail.empty() && before.starts_with(tail)) before.erase(0, tail.size());
      at = found + mark(i).size();
      tail = end_of_answer(marked, i);
      std::string answer = messages[i].content;
      fit_reasoning(conversation, i, before, answer);
      EncodedTurn turn;
      turn.source = tokenizer_->encode(before, false);
      turn.target = tokenizer_->encode(answer + tail, false);
      turn.trained = messages[i].trained;
      turns.push_back(std::move(turn));
    }
    return turns;
  }

  std::vector<TokenId> encode_prompt(const Conversation& conversation) const override {
    return tokenizer_->encode(render(conversation, conversation.messages.size(), true), false);
  }

  std::vector<TokenId> stop_ids() const override {
    std::vector<TokenId> ids;
    if (std::optional<TokenId> eos = tokenizer_->eos_id()) ids.push_back(*eos);
    // The token that the template writes behind an answer, such as <|im_end|>.
    Conversation probe;
    probe.messages = {{Role::kUser, "?"}, {Role::kAssistant, mark(1)}};
    for (TokenId id : tokenizer_->encode(end_of_answer(probe, 1), false))
      if (tokenizer_->is_special(id)) {
        if (ids.empty() || ids[0] != id) ids.push_back(id);
        break;
      }
    return ids;
  }

  std::vector<std::string> notices() const override {
    if (!drops_reasoning_) return {};
    return {
        "the model's own chat template drops the reasoning (<think>…</think>) of answers; it is kept here "
        "and trained. "
        "To train without it, remove it from the data; to see it in history at inference, name a template "
        "such as deepseekr1"};
  }

 private:
  // The template itself says by {% generation %} what the assistant writes.
  std::vector<EncodedTurn> encode_generation_spans(const Conversation& conversation) const {
    jinja::Rendered rendered = render_all(conversation, conversation.messages.size(), false);
    std::vector<EncodedTurn> turns;
    size_t at = 0, answers = conversation.messages.size() / 2;
    std::sort(rendered.generation.begin(), rendered.generation.end(),
              [](const auto& a, const auto& b) { return a.begin_byte < b.begin_byte; });
    for (const jinja::GenerationSpan& span : rendered.generation) {
      if (span.begin_byte < at)
        fail_input("the generation blocks of the chat template lie within each other");
      EncodedTurn turn;
      turn.source =
          tokenizer_->encode(std::string_view(rendered.text).substr(at, span.begin_byte - at), false);
      turn.target = tokenizer_->encode(
          std::string_view(rendered.text).substr(span.begin_byte, span.end_byte - span.begin_byte), false);
      if (turns.size() < answers) turn.trained = conversation.messages[turns.size() * 2 + 1].trained;
      turns.push_back(std::move(turn));
      at = span.end_byte;
    }
    if (turns.size() != answers)
      fail_input("the chat template writes {} generation blocks for {} answers; name another template",
                 turns.size(), answers);
    return turns;
  }

  std::string render(const Conversation& conversation, size_t count, bool generation_prompt) const {
    return render_all(conversation, count, generation_prompt).text;
  }

  jinja::Rendered render_all(const Conversation& conversation, size_t count, bool generation_prompt) const {
    const bool calls = std::any_of(conversation.messages.begin(), conversation.messages.end(),
                                   [](const Message& message) { return message.role == Role::kFunction; });
    if (!calls) return render_as(conversation, count, generation_prompt, ArgumentForm::kObject);
    // Most templates write the arguments with tojson; those of DeepSeek join them to other text.
    try {
      return render_as(conversation, count, generation_prompt, ArgumentForm::kObject);
    } catch (const Error&) {
      return render_as(conversation, count, generation_prompt, ArgumentForm::kText);
    }
  }

  jinja::Rendered render_as(const Conversation& conversation, size_t count, bool generation_prompt,
                            ArgumentForm form) const {
    OrderedJson messages = OrderedJson::array();
    const std::string& system = !conversation.system.empty() ? conversation.system
                                : options_.default_system    ? *options_.default_system
                                                             : conversation.system;
    if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
    for (size_t i = 0; i < count; ++i) {
      const Message& message = conversation.messages[i];
      const char* role = message.role == Role::kUser          ? "user"
                         : message.role == Role::kObservation ? "tool"
                                                              : "assistant";
      if (message.role == Role::kFunction)
        messages.push_back({{"role", role}, {"content", nullptr}, {"tool_calls", calls_of(message, form)}});
      else
        messages.push_back({{"role", role}, {"content", message.content}});
    }
    auto token = [&](std::optional<TokenId> id) { return id ? tokenizer_->id_to_token(*id) : std::string(); };
    OrderedJson context = {
        {"messages", messages},
        {"add_generation_prompt", generation_prompt},
        {"tools",
         conversation.tools.empty() ? OrderedJson() : parse_ordered_json(conversation.tools, "tools")},
        {"bos_token", token(tokenizer_->bos_id())},
        {"eos_token", token(tokenizer_->eos_id())}};
    if (options_.enable_thinking == false) context["enable_thinking"] = false;
    if (options_.preserve_thinking) context["preserve_thinking"] = true;
    return template_.render(jinja::Value::from_json(context), {.limits = {}, .clock = options_.clock});
  }

  // What the template writes for the function calls of turn i, with its end: all behind the place where a
  // plain answer would begin.
  std::string text_of_calls(const Conversation& marked, size_t i) const {
    Conversation plain = marked;
    plain.messages[i] = {Role::kAssistant, mark(i)};
    const std::string answered = render(plain, i + 1, false), called = render(marked, i + 1, false);
    const size_t begin = answered.find(mark(i));
    std::string text = begin < called.size() ? called.substr(begin) : std::string();
    const std::string name = calls_of(marked.messages[i], ArgumentForm::kObject).at(0)["function"]["name"];
    if (called.compare(0, begin, answered, 0, begin) != 0 || text.find(name) == text.npos)
      fail_input("the model's own chat template writes no function calls; name another template");
    return text;
  }

  // What the template writes after answer i when the conversation ends there.
  std::string end_of_answer(const Conversation& marked, size_t i) const {
    std::string text = render(marked, i + 1, false);
    size_t found = text.find(mark(i));
    return found == text.npos ? "" : text.substr(found + mark(i).size());
  }

  void fit_reasoning(const Conversation& conversation, size_t i, std::string& before,
                     std::string& answer) const {
    if (answer.find("</think>") == answer.npos) return;
    // Templates that write an empty thought before answers without one (Qwen3) must not do so here.
    if (before.ends_with(kEmptyThought)) before.erase(before.size() - std::string_view(kEmptyThought).size());
    // A generation prompt that opens the thought itself (R1) is what the model will see.
    std::string prompt = render(conversation, i, true);
    if (prompt.ends_with("<think>\n") && answer.starts_with("<think>\n")) {
      before += "<think>\n";
      answer.erase(0, 8);
    }
    if (drops_reasoning_) return;
    std::string plain = render(conversation, i + 1, false);
    if (plain.find(answer) == plain.npos) drops_reasoning_ = true;
  }

  std::string name_ = "model's own";
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatTemplateOptions options_;
  jinja::Template template_;
  mutable std::atomic<bool> drops_reasoning_{false};
};

}  // namespace

std::shared_ptr<const ChatTemplate> make_own_template(std::shared_ptr<const Tokenizer> tokenizer,
                                                      const ChatTemplateOptions& options) {
  if (tokenizer->chat_template().empty())
    fail_usage("the model has no chat template of its own; name one with template=…: {}",
               fmt::join(chat_template_names(), ", "));
  if (options.literal_content)
    fail_usage(
        "split_special_tokens: the model's own chat template mixes its tokens with the text of messages; "
        "name a "
        "template: {}",
        fmt::join(chat_template_names(), ", "));
  return std::make_shared<OwnTemplate>(std::move(tokenizer), options);
}

}  // namespace fettle
