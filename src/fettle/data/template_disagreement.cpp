#include "fettle/data/template_disagreement.h"

#include "fettle/base/error.h"

namespace fettle {

std::string template_disagreement(const ChatTemplate& chat, const std::shared_ptr<const Tokenizer>& tokenizer,
                                  const Conversation& conversation, const std::string& origin) {
  if (tokenizer->chat_template().empty()) return "";
  std::string named, own;
  try {
    std::shared_ptr<const ChatTemplate> other = make_chat_template("", tokenizer);
    if (other->name() == chat.name()) return "";
    auto text = [&](const ChatTemplate& writer) {
      EncodedTurn all = joined_turns(writer.encode_turns(conversation));
      all.source.insert(all.source.end(), all.target.begin(), all.target.end());
      return tokenizer->decode(all.source, false);
    };
    named = text(chat);
    own = text(*other);
  } catch (const Error&) {
    return "";  // one of the two cannot write this row, which is told where it matters
  }
  // White space behind the last answer is never seen by the model when it answers.
  for (std::string* side : {&named, &own}) side->resize(side->find_last_not_of(" \n") + 1);
  if (named == own) return "";
  size_t at = 0;
  while (at < named.size() && at < own.size() && named[at] == own[at]) ++at;
  while (at > 0 && (static_cast<unsigned char>(named[std::min(at, named.size() - 1)]) & 0xC0) == 0x80) --at;
  auto excerpt = [&](const std::string& side) {
    return at >= side.size() ? std::string("(end)") : "\"" + printable(side.substr(at), 60) + "\"";
  };
  return fmt::format(
      "template {} and the model's own chat template write {} differently, first at byte {}: {} and {}. "
      "The model was made with its own; leave `template` out to use that",
      chat.name(), origin, at, excerpt(named), excerpt(own));
}

}  // namespace fettle
