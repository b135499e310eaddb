// Conversations to token ids and labels, as LLaMA-Factory's supervised processor.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/text/chat.h"

namespace fettle {

struct EncodeOptions {
  int64_t cutoff_len = 2048;
  bool train_on_prompt = false;  ///< labels everywhere
  bool mask_history = false;     ///< only the last answer is learned, and it is the last to be cut
};

/// How many tokens of a source and a target of the given lengths stay within `cutoff`: LLaMA-Factory's
/// infer_seqlen.
std::pair<int64_t, int64_t> split_budget(int64_t source, int64_t target, int64_t cutoff);

struct EncodedExample {
  Example example;
  bool truncated = false;
};
/// Every answer is learned by default; heads of source and target are kept when a pair does not fit, later
/// pairs are dropped.
EncodedExample encode_conversation(const ChatTemplate& chat, const Conversation& conversation,
                                   const EncodeOptions& options);

}  // namespace fettle
