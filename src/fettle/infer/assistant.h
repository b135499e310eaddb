// A model that answers: tokenizer, chat template and generator together.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "fettle/infer/generator.h"
#include "fettle/text/chat.h"

namespace fettle {

struct Answer {
  std::string text;
  Generation generation;
};

/// Called with each piece of text that is complete; false stops.
using TextCallback = std::function<bool(const std::string&)>;

class Assistant {
 public:
  /// `chat` may be null: then only complete() works.
  Assistant(CausalLM& model, Backend& backend, DType compute, std::shared_ptr<const Tokenizer> tokenizer,
            std::shared_ptr<const ChatTemplate> chat);
  /// The answer to a conversation that ends on a user turn.
  Answer reply(const Conversation& conversation, GenerationOptions options,
               const TextCallback& callback = {});
  /// Plain continuation of a text, with the tokenizer's own special tokens before it.
  Answer complete(std::string_view text, GenerationOptions options, const TextCallback& callback = {});
  void forget() { generator_.forget(); }

  std::vector<TokenId> chat_prompt(const Conversation& conversation) const;
  std::vector<TokenId> text_prompt(std::string_view text) const;
  /// What ends an answer: the model's eos_token_id and, of a chat, the template's own, else the tokenizer's
  /// eos.
  std::vector<TokenId> stop_ids(bool chat) const;

 private:
  Answer run(const std::vector<TokenId>& prompt, const GenerationOptions& options,
             const TextCallback& callback);
  CausalLM& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> chat_;
  Generator generator_;
};

}  // namespace fettle
