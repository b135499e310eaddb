// Continued pre-training: texts to examples.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "fettle/data/dataset.h"

namespace fettle {

/// LLaMA-Factory's pretrain processor. Each text ends with the eos token ("<|end_of_text|>" where a Llama 3
/// chat model has another one). Packed: texts laid end to end and cut in blocks of cutoff_len, the first
/// token of each replaced by bos for tokenizers with add_bos_token; what is left at the end is dropped unless
/// there is no whole block. LLaMA-Factory drops the rest of every 1,000 texts; here only the last. Not
/// packed: bos, text and eos cut at cutoff_len.
class TextBlocks {
 public:
  TextBlocks(const DatasetRequest& request, Dataset& out);
  /// The ids of one text, eos included. May be called from several threads.
  std::vector<TokenId> encode(const std::string& text) const;
  void append(std::vector<TokenId>&& ids, const std::string& origin);
  void finish();

 private:
  void add_block(std::vector<int32_t> ids, const std::string& origin);
  const DatasetRequest& request_;
  Dataset& out_;
  bool packing_;
  std::optional<TokenId> bos_, eos_;
  std::vector<TokenId> pending_;
  std::string pending_origin_;
  size_t blocks_ = 0;
};

}  // namespace fettle
