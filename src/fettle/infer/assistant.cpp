#include "fettle/infer/assistant.h"

#include "fettle/base/error.h"

namespace fettle {

Assistant::Assistant(CausalLM& model, Backend& backend, DType compute,
                     std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const ChatTemplate> chat)
    : model_(model),
      tokenizer_(std::move(tokenizer)),
      chat_(std::move(chat)),
      generator_(model, backend, compute) {}

Answer Assistant::run(const std::vector<TokenId>& prompt, const GenerationOptions& options,
                      const TextCallback& callback) {
  StreamDecoder decoder(tokenizer_);
  Answer answer;
  auto deliver = [&](const std::string& piece) {
    answer.text += piece;
    return piece.empty() || !callback || callback(piece);
  };
  answer.generation =
      generator_.generate(prompt, options, [&](int32_t id) { return deliver(decoder.push(id)); });
  deliver(decoder.finish());
  return answer;
}

Answer Assistant::reply(const Conversation& conversation, GenerationOptions options,
                        const TextCallback& callback) {
  FETTLE_CHECK(chat_, "no chat template");
  for (TokenId id : chat_->stop_ids()) options.stop_ids.push_back(id);
  for (int32_t id : model_.config().eos_token_ids) options.stop_ids.push_back(id);
  return run(chat_->encode_prompt(conversation), options, callback);
}

Answer Assistant::complete(std::string_view text, GenerationOptions options, const TextCallback& callback) {
  for (int32_t id : model_.config().eos_token_ids) options.stop_ids.push_back(id);
  if (std::optional<TokenId> eos = tokenizer_->eos_id()) options.stop_ids.push_back(*eos);
  return run(tokenizer_->encode(text, true), options, callback);
}

}  // namespace fettle
