// Conversations and how a template turns them into text and token ids.
#pragma once
#include <cstdint>
#include <memory>
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
  std::string content;   ///< for kFunction: JSON {"name","arguments"} or a list of those
  bool trained = true;   ///< assistant/function turns only: false when a per-turn flag excludes it from the loss
};

struct Conversation {
  std::string system;               ///< empty: none given (a template may have a default)
  std::string tools;                ///< JSON list, empty: none
  std::vector<Message> messages;    ///< without the system message
};

/// A pair of id runs: what is read and what is learned. The next pair continues the same sequence.
struct EncodedTurn {
  std::vector<TokenId> source, target;
  bool trained = true;
};

/// How conversations of one model look. Implementations: the named templates of LLaMA-Factory, slot by slot, and
/// the model's own Jinja template.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual const std::string& name() const = 0;
  /// (source, target) id pairs, one for each assistant or function turn; slots are tokenised separately, so ids
  /// depend on slot boundaries as in LLaMA-Factory's encode_multiturn.
  virtual std::vector<EncodedTurn> encode_turns(const Conversation& conversation) const = 0;
  /// Ids of a conversation that ends on a user or observation turn, ready for the answer.
  virtual std::vector<TokenId> encode_prompt(const Conversation& conversation) const = 0;
  /// Ids that end an answer: eos and the template's stop words.
  virtual std::vector<TokenId> stop_ids() const = 0;
  /// True when a final eos follows the last turn and is trained, the next turn's first token doubling as eos before.
  virtual bool efficient_eos() const { return false; }
};

/// A named template ("qwen", "deepseekr1", "llama3", …) or, with an empty name, the model's own `chat_template`.
/// Error(kUsage) for an unknown name (with the nearest known one) and for an empty name when the model has none.
std::shared_ptr<const ChatTemplate> make_chat_template(std::string_view name,
                                                       std::shared_ptr<const Tokenizer> tokenizer);
std::vector<std::string> chat_template_names();

}  // namespace fettle
