#include "fettle/text/word_piece.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"

namespace fettle {

WordPiece::WordPiece(const Json& model, const std::string& origin) {
  read_vocabulary(model, origin);
  std::string unk = model.contains("unk_token") ? text_field(model, "unk_token", origin) : "[UNK]";
  auto found = vocabulary_.find(unk);
  if (found == vocabulary_.end())
    fail_input("{}: model.unk_token \"{}\" is not in the vocabulary", origin, printable(unk));
  unk_ = found->second;
  max_input_chars_ = count_field(model, "max_input_chars_per_word", 100, origin);
  std::string prefix = "##";
  if (model.contains("continuing_subword_prefix") && !model["continuing_subword_prefix"].is_null())
    prefix = text_field(model, "continuing_subword_prefix", origin);
  for (const auto& [token, id] : vocabulary_) {
    longest_ = std::max(longest_, token.size());
    if (token.starts_with(prefix)) continuing_.emplace(token.substr(prefix.size()), id);
  }
}

void WordPiece::encode_new(std::string_view word, WordCache&, std::vector<TokenId>& out) const {
  auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  int64_t characters = std::count_if(word.begin(), word.end(), [&](char c) { return !continues(c); });
  size_t before = out.size();
  bool known = characters <= max_input_chars_;
  for (size_t begin = 0; known && begin < word.size();) {
    const Vocabulary& pieces = begin == 0 ? vocabulary_ : continuing_;
    size_t length = std::min(longest_, word.size() - begin);
    known = false;
    for (; length > 0 && !known; --length) {
      if (begin + length < word.size() && continues(word[begin + length])) continue;
      if (auto found = pieces.find(word.substr(begin, length)); found != pieces.end()) {
        out.push_back(found->second);
        begin += length;
        known = true;
      }
    }
  }
  if (known) return;
  out.resize(before);
  out.push_back(unk_);
}

}  // namespace fettle
