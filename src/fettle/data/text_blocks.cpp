#include "fettle/data/text_blocks.h"

#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/text/tokenizer_config.h"

namespace fettle {

TextBlocks::TextBlocks(const DatasetRequest& request, Dataset& out)
    : request_(request), out_(out), packing_(request.packing.value_or(true)) {
  if (!request.tokenizer) fail_input("stage pt: the model has no tokenizer.json, which plain text needs");
  const Tokenizer& tokenizer = *request.tokenizer;
  eos_ = tokenizer.eos_id();
  if (eos_ && tokenizer.id_to_token(*eos_) == "<|eot_id|>")
    if (std::optional<TokenId> end = tokenizer.token_to_id("<|end_of_text|>")) eos_ = end;
  if (std::vector<std::filesystem::path> files = tokenizer.files(); !files.empty())
    if (read_tokenizer_config(files.front().parent_path()).add_bos_token.value_or(false))
      bos_ = tokenizer.bos_id();
}

std::vector<TokenId> TextBlocks::encode(const std::string& text) const {
  std::vector<TokenId> ids = request_.tokenizer->encode(text, false);
  if (eos_) ids.push_back(*eos_);
  return ids;
}

void TextBlocks::append(std::vector<TokenId>&& ids, const std::string& origin) {
  size_t block = static_cast<size_t>(request_.cutoff_len);
  if (!packing_) {
    if (bos_) ids.insert(ids.begin(), *bos_);
    out_.truncated += ids.size() > block;
    if (ids.size() > block) ids.resize(block);
    add_block(std::move(ids), origin);
    return;
  }
  if (pending_.empty()) pending_origin_ = origin;
  size_t at = 0;
  while (ids.size() - at > 0) {
    size_t take = std::min(ids.size() - at, block - pending_.size());
    pending_.insert(pending_.end(), ids.begin() + static_cast<ptrdiff_t>(at),
                    ids.begin() + static_cast<ptrdiff_t>(at + take));
    at += take;
    if (pending_.size() < block) continue;
    add_block(std::exchange(pending_, {}), pending_origin_);
    pending_origin_ = origin;
  }
}

void TextBlocks::finish() {
  if (packing_ && blocks_ == 0 && pending_.size() > 1) add_block(std::move(pending_), pending_origin_);
}

void TextBlocks::add_block(std::vector<int32_t> ids, const std::string& origin) {
  if (packing_ && bos_) ids[0] = *bos_;
  ++blocks_;
  Example example;
  example.labels = ids;
  example.ids = std::move(ids);
  out_.examples.append(example, origin);
}

}  // namespace fettle
