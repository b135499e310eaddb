#include "fettle/data/encode.h"

#include <algorithm>
#include <tuple>

#include "fettle/base/error.h"

namespace fettle {

std::pair<int64_t, int64_t> split_budget(int64_t source, int64_t target, int64_t cutoff) {
  int64_t most_target;
  if (target * 2 < cutoff) {
    most_target = cutoff;
  } else if (source * 2 < cutoff) {
    most_target = cutoff - source;
  } else {
    double share = static_cast<double>(target) / static_cast<double>(source + target);
    most_target = static_cast<int64_t>(static_cast<double>(cutoff) * share);
  }
  int64_t kept_target = std::min(most_target, target);
  int64_t kept_source = std::min(std::max<int64_t>(cutoff - kept_target, 0), source);
  return {kept_source, kept_target};
}

Truncation parse_truncation(const std::optional<std::string>& name) {
  if (!name) return Truncation::kTurns;
  if (*name == "keep_start") return Truncation::kStart;
  if (*name == "keep_end") return Truncation::kEnd;
  fail_usage("truncation_mode: {}, expected keep_start or keep_end", printable(*name));
}

bool cut_example(Example& example, int64_t cutoff_len, Truncation truncation) {
  int64_t excess = static_cast<int64_t>(example.ids.size()) - cutoff_len;
  if (excess <= 0) return false;
  for (std::vector<int32_t>* list : {&example.ids, &example.labels}) {
    if (truncation == Truncation::kEnd) list->erase(list->begin(), list->begin() + excess);
    list->resize(static_cast<size_t>(cutoff_len));
  }
  return true;
}

EncodedExample encode_pair(const ChatTemplate& chat, const PreferencePair& pair, int64_t cutoff_len,
                           Truncation truncation) {
  EncodedTurn turns[] = {chat.encode_oneturn(pair.chosen), chat.encode_oneturn(pair.rejected)};
  size_t longest = 0;
  for (EncodedTurn& turn : turns) {
    if (chat.efficient_eos()) turn.target.push_back(chat.stop_ids().at(0));
    longest = std::max(longest, turn.target.size());
  }
  // Both sides read the question as the template writes it before the chosen answer.
  const std::vector<TokenId>& question = turns[0].source;
  int64_t most_question = INT64_MAX, most_answer = INT64_MAX;
  if (truncation == Truncation::kTurns)
    std::tie(most_question, most_answer) =
        split_budget(static_cast<int64_t>(question.size()), static_cast<int64_t>(longest), cutoff_len);
  EncodedExample result;
  for (const EncodedTurn& turn : turns) {
    Example side;
    side.ids = question;
    side.ids.resize(static_cast<size_t>(std::min<int64_t>(most_question, std::ssize(question))));
    side.labels.assign(side.ids.size(), kIgnoreLabel);
    const ptrdiff_t kept = std::min<int64_t>(most_answer, std::ssize(turn.target));
    for (std::vector<int32_t>* list : {&side.ids, &side.labels})
      list->insert(list->end(), turn.target.begin(), turn.target.begin() + kept);
    result.truncated |= side.ids.size() < question.size() + turn.target.size();
    if (truncation != Truncation::kTurns) result.truncated |= cut_example(side, cutoff_len, truncation);
    Example& both = result.example;
    both.ids.insert(both.ids.end(), side.ids.begin(), side.ids.end());
    both.labels.insert(both.labels.end(), side.labels.begin(), side.labels.end());
    both.lengths.push_back(static_cast<int32_t>(side.ids.size()));
  }
  return result;
}

EncodedExample encode_labelled(const Tokenizer& tokenizer, const LabelledText& given, int32_t class_id,
                               int64_t cutoff_len) {
  std::optional<std::string_view> pair;
  if (given.pair) pair = *given.pair;
  EncodedExample result;
  const size_t whole = tokenizer.encode_with_types(given.text, pair, true).ids.size();
  result.truncated = static_cast<int64_t>(whole) > cutoff_len;
  result.example.ids = tokenizer.encode_with_types(given.text, pair, true, cutoff_len).ids;
  result.example.labels.assign(result.example.ids.size(), kIgnoreLabel);
  if (!result.example.labels.empty()) result.example.labels.back() = class_id;
  return result;
}

EncodedExample encode_conversation(const ChatTemplate& chat, const Conversation& conversation,
                                   const EncodeOptions& options) {
  if (options.truncation != Truncation::kTurns) {
    EncodeOptions whole = options;
    whole.cutoff_len = INT64_MAX;
    whole.truncation = Truncation::kTurns;
    EncodedExample result = encode_conversation(chat, conversation, whole);
    result.truncated = cut_example(result.example, options.cutoff_len, options.truncation);
    return result;
  }
  std::vector<EncodedTurn> turns = chat.encode_turns(conversation);
  FETTLE_CHECK(!turns.empty(), "a conversation without answers");
  bool efficient = chat.efficient_eos();
  std::vector<TokenId> stop = efficient ? chat.stop_ids() : std::vector<TokenId>();
  FETTLE_CHECK(!efficient || !stop.empty(), "template {} has no eos", chat.name());
  EncodedExample result;
  bool last_trained = turns.back().trained;
  // With mask_history the last turns get the budget first.
  if (options.mask_history) std::reverse(turns.begin(), turns.end());
  int64_t total = efficient ? 1 : 0;
  std::vector<Example> pieces;
  for (size_t i = 0; i < turns.size(); ++i) {
    EncodedTurn& turn = turns[i];
    if (total >= options.cutoff_len) {
      result.truncated = true;
      break;
    }
    auto [source, target] =
        split_budget(static_cast<int64_t>(turn.source.size()), static_cast<int64_t>(turn.target.size()),
                     options.cutoff_len - total);
    result.truncated |= source < static_cast<int64_t>(turn.source.size()) ||
                        target < static_cast<int64_t>(turn.target.size());
    turn.source.resize(static_cast<size_t>(source));
    turn.target.resize(static_cast<size_t>(target));
    total += source + target;
    Example piece;
    piece.ids = turn.source;
    piece.ids.insert(piece.ids.end(), turn.target.begin(), turn.target.end());
    if (options.train_on_prompt)
      piece.labels = turn.source;
    else
      piece.labels.assign(static_cast<size_t>(source), kIgnoreLabel);
    // The first token of a turn ends the answer before it. LLaMA-Factory counts turns from the one encoded
    // first, so with mask_history it is the last turn's that stays without label.
    bool ends_answer = options.mask_history ? i > 0 : i > 0 && turns[i - 1].trained;
    if (efficient && !options.train_on_prompt && ends_answer && source > 0) piece.labels[0] = stop[0];
    bool learned = turn.trained && !(options.mask_history && i > 0);
    if (learned)
      piece.labels.insert(piece.labels.end(), turn.target.begin(), turn.target.end());
    else
      piece.labels.insert(piece.labels.end(), turn.target.size(), kIgnoreLabel);
    pieces.push_back(std::move(piece));
  }
  if (options.mask_history) std::reverse(pieces.begin(), pieces.end());
  Example& example = result.example;
  for (const Example& piece : pieces) {
    example.ids.insert(example.ids.end(), piece.ids.begin(), piece.ids.end());
    example.labels.insert(example.labels.end(), piece.labels.begin(), piece.labels.end());
  }
  if (efficient) {
    example.ids.push_back(stop[0]);
    example.labels.push_back(last_trained ? stop[0] : kIgnoreLabel);
  }
  return result;
}

}  // namespace fettle
