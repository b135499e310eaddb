// Conversations and how a template turns them into text and token ids.
#pragma once
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// Role of a message after conversion from any data set form.
enum class Role { kSystem, kUser, kAssistant, kFunction, kObservation };

struct Message {
  Role role = Role::kUser;
  std::string content;  ///< for kFunction: JSON {"name","arguments"} or a list of those
  bool trained =
      true;  ///< assistant/function turns only: false when a per-turn flag excludes it from the loss
};

struct Conversation {
  std::string system;  ///< empty: none given (a template may have a default)
  std::string tools;   ///< JSON list, empty: none
  std::vector<Message>
      messages;  ///< without the system message; user/observation and assistant/function alternate
};

/// A pair of id runs: what is read and what is learned. The next pair continues the same sequence.
struct EncodedTurn {
  std::vector<TokenId> source, target;
  bool trained = true;
};

/// How conversations of one model look. Implementations: the named templates of LLaMA-Factory, slot by slot,
/// and the model's own Jinja template. Immutable; every method may be called from several threads.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual const std::string& name() const = 0;
  /// (source, target) id pairs, one for each assistant or function turn; slots are tokenised separately, so
  /// ids depend on slot boundaries as in LLaMA-Factory's encode_multiturn. Error(kBadInput) when turns do not
  /// alternate.
  virtual std::vector<EncodedTurn> encode_turns(const Conversation& conversation) const = 0;
  /// All before the last answer, and the last answer, as LLaMA-Factory's encode_oneturn: reasoning of earlier
  /// answers is dropped where a model does not see it again.
  virtual EncodedTurn encode_oneturn(const Conversation& conversation) const;
  /// Ids of a conversation that ends on a user or observation turn, ready for the answer.
  virtual std::vector<TokenId> encode_prompt(const Conversation& conversation) const = 0;
  /// Ids that end an answer: eos first, then the template's stop words.
  virtual std::vector<TokenId> stop_ids() const = 0;
  /// True when a final eos follows the last turn and is trained, the next turn's first token doubling as eos
  /// before.
  virtual bool efficient_eos() const { return false; }
  /// What the user should know about this template and the conversations encoded so far; empty when all is
  /// well.
  virtual std::vector<std::string> notices() const { return {}; }
};

/// The turns as one: all before the last answer is its source.
EncodedTurn joined_turns(std::vector<EncodedTurn> turns);

struct ChatTemplateOptions {
  /// Reasoning templates: true writes and trains an empty thought where an answer has none; false removes
  /// reasoning and puts the empty thought into the prompt, untrained; unset keeps reasoning and puts it into
  /// the prompt.
  std::optional<bool> enable_thinking = true;
  /// Only the last answer will be trained: reasoning of earlier turns is dropped as it is at inference.
  bool mask_history = false;
  /// Keeps the reasoning of earlier turns where mask_history, or a prompt, would drop it.
  bool preserve_thinking = false;
  /// Special tokens that stand in messages are ordinary text, not what the template means by them. Named
  /// templates only.
  bool literal_content = false;
  /// Replaces the template's default system prompt.
  std::optional<std::string> default_system;
  /// Replaces the template's way to write tools and calls: default, glm4, glm4_moe, llama3, ling, mistral,
  /// qwen …
  std::string tool_format;
  /// The date that templates write; local time when empty.
  std::function<std::tm()> clock;
};

/// A named template ("qwen", "deepseekr1", "llama3", …) or, with an empty name, the model's own
/// `chat_template`. Error(kUsage) for an unknown name (with the nearest known one) and for an empty name when
/// the model has none.
std::shared_ptr<const ChatTemplate> make_chat_template(std::string_view name,
                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                       const ChatTemplateOptions& options = {});
std::vector<std::string> chat_template_names();

}  // namespace fettle
