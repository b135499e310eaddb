#include "fettle/text/word_level.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"

namespace fettle {

WordLevel::WordLevel(const Json& model, const std::string& origin) : origin_(origin) {
  read_vocabulary(model, origin);
  if (auto found = vocabulary_.find(text_field(model, "unk_token", origin)); found != vocabulary_.end())
    unk_ = found->second;
}

void WordLevel::encode_new(std::string_view word, WordCache&, std::vector<TokenId>& out) const {
  auto found = vocabulary_.find(word);
  if (found == vocabulary_.end() && unk_ < 0)
    fail_input("{}: the word \"{}\" is not in the vocabulary, and neither is model.unk_token", origin_,
               printable(std::string(word.substr(0, 80))));
  out.push_back(found == vocabulary_.end() ? unk_ : found->second);
}

}  // namespace fettle
