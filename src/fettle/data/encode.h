// Conversations to token ids and labels, as LLaMA-Factory's supervised processor.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/data/forms/forms.h"
#include "fettle/text/chat.h"

namespace fettle {

/// What is kept of a sample longer than cutoff_len.
enum class Truncation {
  kTurns,  ///< a share of each turn's source and target: LLaMA-Factory's way; elsewhere as kStart
  kStart,  ///< the first tokens: TRL's truncation_mode keep_start
  kEnd,    ///< the last tokens: TRL's keep_end
};
/// Null is kTurns. Error(kUsage) with what is known.
Truncation parse_truncation(const std::optional<std::string>& name);
/// Keeps one end of an example, the start unless kEnd is asked for; whether anything was cut.
bool cut_example(Example& example, int64_t cutoff_len, Truncation truncation);

struct EncodeOptions {
  int64_t cutoff_len = 2048;
  bool train_on_prompt = false;  ///< labels everywhere
  bool mask_history = false;     ///< only the last answer is learned, and it is the last to be cut
  Truncation truncation = Truncation::kTurns;
};

/// How many tokens of a source and a target of the given lengths stay within `cutoff`: LLaMA-Factory's
/// infer_seqlen.
std::pair<int64_t, int64_t> split_budget(int64_t source, int64_t target, int64_t cutoff);

struct EncodedExample {
  Example example;
  bool truncated = false;
};
/// Every answer is learned by default. With Truncation::kTurns heads of source and target are kept when a
/// pair does not fit, and later pairs are dropped.
EncodedExample encode_conversation(const ChatTemplate& chat, const Conversation& conversation,
                                   const EncodeOptions& options);

/// The chosen and the rejected side of a preference pair as the two samples of one row, as LLaMA-Factory's
/// pairwise processor: the longer answer decides how many tokens of question and answers stay within
/// cutoff_len, and every token of the answers has a label.
EncodedExample encode_pair(const ChatTemplate& chat, const PreferencePair& pair, int64_t cutoff_len,
                           Truncation truncation);

/// A text (or two) with the tokenizer's special tokens, cut to cutoff_len as truncation=True of Transformers.
/// The last token's label is the number of the class; nothing else has one.
EncodedExample encode_labelled(const Tokenizer& tokenizer, const LabelledText& given, int32_t class_id,
                               int64_t cutoff_len);

}  // namespace fettle
