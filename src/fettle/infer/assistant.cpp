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

std::vector<TokenId> Assistant::chat_prompt(const Conversation& conversation) const {
  FETTLE_CHECK(chat_, "no chat template");
  return chat_->encode_prompt(conversation);
}

std::vector<TokenId> Assistant::text_prompt(std::string_view text) const {
  return tokenizer_->encode(text, true);
}

std::vector<TokenId> Assistant::stop_ids(bool chat) const {
  std::vector<TokenId> ids;
  if (chat && chat_) ids = chat_->stop_ids();
  for (int32_t id : model_.config().eos_token_ids) ids.push_back(id);
  if (!chat && tokenizer_)
    if (std::optional<TokenId> eos = tokenizer_->eos_id()) ids.push_back(*eos);
  return ids;
}

Answer Assistant::reply(const Conversation& conversation, GenerationOptions options,
                        const TextCallback& callback) {
  for (TokenId id : stop_ids(true)) options.stop_ids.push_back(id);
  return run(chat_prompt(conversation), options, callback);
}

Answer Assistant::complete(std::string_view text, GenerationOptions options, const TextCallback& callback) {
  for (TokenId id : stop_ids(false)) options.stop_ids.push_back(id);
  return run(text_prompt(text), options, callback);
}

}  // namespace fettle
