#include "fettle/data/dataset.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/base/utf8.h"
#include "fettle/data/class_numbers.h"
#include "fettle/data/encode.h"
#include "fettle/data/encoded_files.h"
#include "fettle/data/forms/forms.h"
#include "fettle/data/packing.h"
#include "fettle/data/row_selection.h"
#include "fettle/data/template_disagreement.h"
#include "fettle/data/text_blocks.h"

namespace fettle {
namespace {

constexpr size_t kBatch = 2048;  ///< rows held as JSON at a time
constexpr size_t kChunk = 32;    ///< rows that one thread takes at a time
constexpr size_t kMaxDroppedRows = 1000;

/// What became of one row.
struct RowResult {
  Example example;
  std::vector<TokenId> text;  ///< stage pt
  std::string problem;        ///< not empty: dropped, and why
  bool truncated = false, without_label = false, placeholder = false;
};

void check_ids(const std::vector<int32_t>& ids, int64_t vocab_size, const std::string& origin) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocab_size)
      fail_input("{}: token id {} is not in the model's vocabulary of {}; is this the model's own tokenizer?",
                 origin, id, vocab_size);
}

std::vector<int32_t> id_list(const Record& record, const char* key, bool labels, int64_t vocab_size) {
  const OrderedJson& list = record.value[key];
  if (!list.is_array()) throw BadRow{fmt::format("{} is {}, expected a list", key, list.type_name())};
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const OrderedJson& value : list) {
    if (!value.is_number_integer())
      throw BadRow{fmt::format("{} holds {}", key, printable(value.dump(), 30))};
    double id = value.get<double>();
    if (labels && id == kIgnoreLabel)
      ids.push_back(kIgnoreLabel);
    else if (id >= 0 && id < static_cast<double>(vocab_size))
      ids.push_back(value.get<int32_t>());
    else
      fail_input("{}: {} holds {}, which is not in the model's vocabulary of {}", record.origin, key,
                 value.dump(), vocab_size);
  }
  return ids;
}

// A label on the first token has nothing before it that could predict it.
bool has_target(const Example& example) {
  for (size_t t = 1; t < example.labels.size(); ++t)
    if (example.labels[t] >= 0) return true;
  return false;
}

bool has_placeholder(const Conversation& conversation) {
  for (const Message& message : conversation.messages)
    for (const char* name : {"{{name}}", "{{author}}"})
      if (message.content.find(name) != std::string::npos) return true;
  return false;
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

/// What a row says, whatever its form: for finding rows that are the same.
uint64_t content_hash(const Conversation& conversation) {
  uint64_t hash = XXH3_64bits(conversation.system.data(), conversation.system.size());
  for (const Message& message : conversation.messages) {
    hash = XXH3_64bits_withSeed(message.content.data(), message.content.size(),
                                hash + static_cast<uint64_t>(message.role));
  }
  return hash;
}

bool trains_pairs(const std::string& stage) {
  return stage == "rm" || stage == "dpo";
}

/// One data set on its way to examples.
class DatasetLoader {
 public:
  DatasetLoader(const DatasetEntry& entry, const DatasetRequest& request, ClassNumbers& classes, Dataset& out)
      : entry_(entry), request_(request), classes_(classes), out_(out) {}

  /// Notes where the named template and the model's own write the first row differently.
  void compare_templates() { compares_ = true; }

  void run() {
    for_each_selected(entry_, request_.max_samples, request_.seed, kBatch,
                      [&](std::vector<Record>&& records, int64_t total) { take(records, total); });
    if (blocks_) blocks_->finish();
    report();
  }

  /// See inspect_dataset(); `row` is the number of the first row and then the one behind the last.
  void inspect(int64_t& row, const std::function<bool(int64_t)>& wanted,
               const std::function<void(Record&&, InspectedRow&&)>& take) {
    bool decided = false;
    for_each_selected(
        entry_, request_.max_samples, request_.seed, kBatch,
        [&](std::vector<Record>&& records, int64_t total) {
          auto whole =
              std::find_if(records.begin(), records.end(), [](const Record& r) { return r.damage.empty(); });
          if (!decided && whole != records.end()) {
            decide_form_to_inspect(*whole);
            if (compares_) note_disagreement(*whole);
            decided = true;
          }
          std::vector<InspectedRow> rows(records.size());
          int64_t chunks = static_cast<int64_t>((records.size() + kChunk - 1) / kChunk);
          parallel_for(chunks, [&](int64_t chunk) {
            size_t first = static_cast<size_t>(chunk) * kChunk;
            for (size_t i = first; i < std::min(records.size(), first + kChunk); ++i)
              if (wanted(row + static_cast<int64_t>(i))) rows[i] = inspect_row(records[i]);
          });
          for (size_t i = 0; i < records.size(); ++i)
            if (wanted(row++)) take(std::move(records[i]), std::move(rows[i]));
          rows_ += static_cast<int64_t>(records.size());
          if (request_.progress) request_.progress(rows_, total);
        },
        DamagedLine::kKeep);
    out_.notes.insert(out_.notes.end(), entry_.notes.begin(), entry_.notes.end());
  }

 private:
  void take(const std::vector<Record>& records, int64_t total) {
    if (rows_ == 0) {
      decide_form(records.front());
      if (compares_) note_disagreement(records.front());
    }
    std::vector<RowResult> results(records.size());
    // Batches are cut again so that the display moves.
    for (size_t begin = 0; begin < records.size(); begin += kBatch / 8) {
      size_t end = std::min(records.size(), begin + kBatch / 8);
      int64_t chunks = static_cast<int64_t>((end - begin + kChunk - 1) / kChunk);
      parallel_for(chunks, [&](int64_t chunk) {
        size_t first = begin + static_cast<size_t>(chunk) * kChunk;
        for (size_t i = first; i < std::min(end, first + kChunk); ++i) results[i] = convert(records[i]);
      });
      if (request_.progress) request_.progress(rows_ + static_cast<int64_t>(end), total);
    }
    rows_ += static_cast<int64_t>(records.size());
    for (size_t i = 0; i < results.size(); ++i) keep(std::move(results[i]), records[i].origin);
  }

  void decide_form(const Record& first) {
    bool tokens = first.value.is_object() && first.value.contains("input_ids");
    form_ = tokens || request_.stage != "pt" ? detect_form(entry_, first) : Form::kText;
    if (request_.stage != "sft" && request_.stage != "pt") return check_special_stage(first);
    if (form_ == Form::kTokens) return;
    if (form_ == Form::kPattern) {
      if (!request_.tokenizer) fail_input("{}: prompt_pattern needs a tokenizer", entry_.path.string());
      return;
    }
    if (form_ == Form::kPreference || form_ == Form::kLabelled)
      fail_input(
          "{}: rows have the {} form, which stage {} does not train; `fettle data convert IN OUT --to "
          "sharegpt` "
          "makes dialogues with the {} of it",
          entry_.path.string(), form_name(form_), request_.stage,
          form_ == Form::kPreference ? "chosen answers" : "labels as answers");
    if (request_.stage == "pt") {
      blocks_ = std::make_unique<TextBlocks>(request_, out_);
      return;
    }
    if (form_ == Form::kText) fail_input("{}: plain text rows are for stage pt; set stage: pt", first.origin);
    if (!request_.chat)
      fail_input("{}: the model has no chat template; name one, for example template=chatml",
                 entry_.path.string());
    if (request_.train_on_prompt && request_.chat->efficient_eos())
      fail_usage(
          "train_on_prompt: template {} shares the end of an answer with the next turn, so prompts cannot be "
          "trained",
          request_.chat->name());
    note_unread_fields(first);
  }

  void check_special_stage(const Record& first) {
    const bool pairs = trains_pairs(request_.stage);
    FETTLE_CHECK(pairs || request_.stage == "classification", "stage {}", request_.stage);
    if (form_ != (pairs ? Form::kPreference : Form::kLabelled))
      fail_input("{}: stage {} needs rows with {}; these have the {} form", first.origin, request_.stage,
                 pairs ? "a chosen and a rejected answer" : "a text and a label", form_name(form_));
    if (pairs && !request_.chat)
      fail_input("{}: the model has no chat template; name one, for example template=chatml",
                 entry_.path.string());
    if (!pairs && !request_.tokenizer) fail_input("stage classification: the model has no tokenizer");
    if (!pairs) classes_.read(request_, first);
  }

  void note_unread_fields(const Record& first) {
    for (const std::string& field : unread_fields(form_, entry_, first.value))
      out_.notes.push_back(
          fmt::format("{}: rows have a field \"{}\" that is not used, because dataset_info.json does not "
                      "name it; add it to columns",
                      entry_.name, field));
  }

  void decide_form_to_inspect(const Record& first) {
    bool tokens = first.value.is_object() && first.value.contains("input_ids");
    form_ = tokens || request_.stage != "pt" ? detect_form(entry_, first) : Form::kText;
    if (form_ == Form::kText && request_.tokenizer) blocks_ = std::make_unique<TextBlocks>(request_, out_);
    if (form_ == Form::kLabelled) classes_.read(request_, first);
    if (form_ == Form::kPreference || form_ == Form::kLabelled)
      out_.notes.push_back(fmt::format(
          "{}: rows have the {} form, which stage {} does not train; they are shown as {}. `fettle "
          "data convert IN OUT --to sharegpt` makes dialogues with the {} of it, which stage sft "
          "trains",
          entry_.name, form_name(form_), request_.stage,
          form_ == Form::kPreference ? "the pairs that stages rm and dpo of LLaMA-Factory see"
                                     : "a classifier sees them",
          form_ == Form::kPreference ? "chosen answers" : "labels as answers"));
    if (form_ != Form::kTokens && form_ != Form::kText && form_ != Form::kPattern) note_unread_fields(first);
  }

  InspectedRow inspect_row(const Record& record) const {
    InspectedRow row;
    row.form = form_;
    try {
      if (!record.damage.empty()) throw BadRow{record.damage};
      if (form_ == Form::kTokens)
        inspect_tokens(record, row);
      else if (form_ == Form::kPattern)
        inspect_pattern(record, row);
      else if (form_ == Form::kText)
        inspect_text(record, row);
      else if (form_ == Form::kPreference)
        inspect_pair(record, row);
      else if (form_ == Form::kLabelled)
        inspect_labelled(record, row);
      else
        inspect_conversation(record, row);
    } catch (const BadRow& bad) {
      row.problem = bad.reason;
      row.content = 0;
    }
    if (row.problem.empty() && !row.example.ids.empty() && form_ != Form::kLabelled &&
        !has_target(row.example)) {
      row.without_label = true;
      row.problem = row.truncated ? "no trained token is left within cutoff_len" : "no token has a label";
    }
    return row;
  }

  void inspect_tokens(const Record& record, InspectedRow& row) const {
    RowResult result = from_tokens(record);
    row.example = std::move(result.example);
    row.truncated = result.truncated;
    row.content = XXH3_64bits(row.example.ids.data(), row.example.ids.size() * sizeof(int32_t));
    if (!row.truncated) return;
    DatasetRequest request = request_;
    request.cutoff_len = INT64_MAX;
    row.whole = DatasetLoader(entry_, request, classes_, out_).from_tokens(record).example;
  }

  void inspect_pattern(const Record& record, InspectedRow& row) const {
    PromptPattern::Filled filled = entry_.pattern->fill(record.value);
    row.text = filled.read + filled.learned;
    row.characters = count_characters(row.text);
    row.trained_characters = count_characters(filled.learned);
    row.content = XXH3_64bits(row.text.data(), row.text.size());
    if (!request_.tokenizer) return;
    RowResult result = from_pattern(record);
    row.example = std::move(result.example);
    row.truncated = result.truncated;
    if (!row.truncated) return;
    DatasetRequest request = request_;
    request.cutoff_len = INT64_MAX;
    row.whole = DatasetLoader(entry_, request, classes_, out_).from_pattern(record).example;
  }

  void inspect_text(const Record& record, InspectedRow& row) const {
    row.text = to_plain_text(entry_, record.value);
    if (row.text.empty()) throw BadRow{"the text is empty"};
    row.characters = row.trained_characters = count_characters(row.text);
    row.content = XXH3_64bits(row.text.data(), row.text.size());
    if (!blocks_) return;
    row.example.ids = blocks_->encode(row.text);
    row.example.labels = row.example.ids;
  }

  void inspect_pair(const Record& record, InspectedRow& row) const {
    PreferencePair pair = to_pair(entry_, record.value);
    const std::string& better = pair.chosen.messages.back().content;
    const std::string& worse = pair.rejected.messages.back().content;
    Conversation both = pair.chosen;
    both.messages.push_back(pair.rejected.messages.back());
    describe(both, row);
    row.rounds = std::ssize(pair.chosen.messages) / 2;
    row.trained_characters = count_characters(better) + count_characters(worse);
    if (!request_.chat) return;
    row.text.clear();
    EncodedExample encoded = encode_sides(pair, record.origin, request_.cutoff_len);
    row.truncated = encoded.truncated;
    if (row.truncated) row.whole = encode_sides(pair, record.origin, INT64_MAX).example;
    row.example = std::move(encoded.example);
  }

  void inspect_labelled(const Record& record, InspectedRow& row) const {
    LabelledText given = to_labelled(record.value);
    const int32_t number = classes_.number_of(given);
    row.label =
        given.named ? fmt::format("{} (class {})", given.label, number) : fmt::format("class {}", number);
    row.text = given.pair ? given.text + "\n" + *given.pair : given.text;
    row.characters = count_characters(row.text);
    row.content = XXH3_64bits_withSeed(row.text.data(), row.text.size(), static_cast<uint64_t>(number));
    if (!request_.tokenizer) return;
    EncodedExample encoded = encode_labelled(*request_.tokenizer, given, number, request_.cutoff_len);
    row.truncated = encoded.truncated;
    if (row.truncated) row.whole = encode_labelled(*request_.tokenizer, given, number, INT64_MAX).example;
    row.example = std::move(encoded.example);
  }

  void inspect_conversation(const Record& record, InspectedRow& row) const {
    Conversation conversation = to_conversation(form_, entry_, record.value);
    describe(conversation, row);
    if (!request_.chat) return;
    row.text.clear();
    RowResult result = encode_row(conversation, record.origin, request_.cutoff_len);
    row.truncated = result.truncated;
    if (row.truncated) row.whole = encode_row(conversation, record.origin, INT64_MAX).example;
    row.example = std::move(result.example);
  }

  // What a conversation says, without template.
  void describe(const Conversation& conversation, InspectedRow& row) const {
    row.content = content_hash(conversation);
    row.placeholder = has_placeholder(conversation);
    row.characters = count_characters(conversation.system);
    if (!conversation.system.empty()) row.text = "system: " + conversation.system + "\n";
    const Message& last = conversation.messages.back();
    for (const Message& message : conversation.messages) {
      bool answer = message.role == Role::kAssistant || message.role == Role::kFunction;
      bool trained = answer && message.trained && (!request_.mask_history || &message == &last);
      int64_t characters = count_characters(message.content);
      row.rounds += answer;
      row.characters += characters;
      if (trained || request_.train_on_prompt) row.trained_characters += characters;
      const char* role = message.role == Role::kUser        ? "user: "
                         : message.role == Role::kAssistant ? "assistant: "
                         : message.role == Role::kFunction  ? "function call: "
                                                            : "observation: ";
      if (form_ == Form::kPreference && &message + 1 >= &last)
        role = &message == &last ? "rejected: " : "chosen: ";
      if (!request_.chat) row.text += role + message.content + "\n";
    }
  }

  void note_disagreement(const Record& record) const {
    const bool writes_none =
        form_ == Form::kTokens || form_ == Form::kText || form_ == Form::kPattern || form_ == Form::kLabelled;
    if (!request_.chat || !request_.tokenizer || writes_none) return;
    try {
      Conversation conversation = to_conversation(form_, entry_, record.value);
      if (conversation.system.empty()) conversation.system = request_.default_system;
      std::string note =
          template_disagreement(*request_.chat, request_.tokenizer, conversation, record.origin);
      if (!note.empty()) out_.notes.push_back(std::move(note));
    } catch (const BadRow&) {
      // The row is dropped and counted where it is encoded.
    }
  }

  RowResult convert(const Record& record) const {
    RowResult result;
    try {
      if (form_ == Form::kTokens)
        result = from_tokens(record);
      else if (form_ == Form::kPattern)
        result = from_pattern(record);
      else if (blocks_)
        result = from_text(record);
      else if (form_ == Form::kPreference)
        result = from_pair(record);
      else if (form_ == Form::kLabelled)
        result = from_labels(record);
      else
        result = from_conversation(record);
    } catch (const BadRow& bad) {
      result.problem = bad.reason;
      return result;
    }
    if (!blocks_ && form_ != Form::kLabelled && !has_target(result.example)) {
      result.without_label = true;
      result.problem =
          result.truncated ? "no trained token is left within cutoff_len" : "no token has a label";
    }
    return result;
  }

  RowResult from_tokens(const Record& record) const {
    if (!record.value.is_object() || !record.value.contains("input_ids"))
      throw BadRow{"\"input_ids\" is missing"};
    RowResult result;
    Example& example = result.example;
    example.ids = id_list(record, "input_ids", false, request_.vocab_size);
    bool labelled = record.value.contains("labels") && !record.value["labels"].is_null();
    example.labels = labelled ? id_list(record, "labels", true, request_.vocab_size) : example.ids;
    if (example.labels.size() != example.ids.size())
      throw BadRow{fmt::format("{} labels for {} input_ids", example.labels.size(), example.ids.size())};
    result.truncated = cut_example(example, request_.cutoff_len, request_.truncation);
    return result;
  }

  // As the tutorials do it: the filled text and eos, tokenised whole, with the tokenizer's own special
  // tokens.
  RowResult from_pattern(const Record& record) const {
    RowResult result;
    PromptPattern::Filled filled = entry_.pattern->fill(record.value);
    Example& example = result.example;
    example.ids = request_.tokenizer->encode(filled.read.empty() ? filled.learned : filled.read, true);
    example.labels =
        filled.read.empty() ? example.ids : std::vector<int32_t>(example.ids.size(), kIgnoreLabel);
    std::vector<TokenId> rest;
    if (!filled.read.empty()) rest = request_.tokenizer->encode(filled.learned, false);
    if (std::optional<TokenId> eos = request_.tokenizer->eos_id()) rest.push_back(*eos);
    example.ids.insert(example.ids.end(), rest.begin(), rest.end());
    example.labels.insert(example.labels.end(), rest.begin(), rest.end());
    check_ids(example.ids, request_.vocab_size, record.origin);
    result.truncated = cut_example(example, request_.cutoff_len, request_.truncation);
    return result;
  }

  RowResult from_text(const Record& record) const {
    RowResult result;
    std::string text = to_plain_text(entry_, record.value);
    if (text.empty()) throw BadRow{"the text is empty"};
    result.text = blocks_->encode(text);
    check_ids(result.text, request_.vocab_size, record.origin);
    return result;
  }

  EncodedExample encode_sides(PreferencePair pair, const std::string& origin, int64_t cutoff_len) const {
    for (Conversation* side : {&pair.chosen, &pair.rejected})
      if (side->system.empty()) side->system = request_.default_system;
    EncodedExample encoded;
    try {
      encoded = encode_pair(*request_.chat, pair, cutoff_len, request_.truncation);
    } catch (const Error& error) {
      if (error.code() == ExitCode::kBadInput) throw BadRow{error.what()};
      throw;
    }
    check_ids(encoded.example.ids, request_.vocab_size, origin);
    return encoded;
  }

  RowResult from_pair(const Record& record) const {
    PreferencePair pair = to_pair(entry_, record.value);
    RowResult result;
    result.placeholder = has_placeholder(pair.chosen);
    EncodedExample encoded = encode_sides(std::move(pair), record.origin, request_.cutoff_len);
    result.example = std::move(encoded.example);
    result.truncated = encoded.truncated;
    return result;
  }

  RowResult from_labels(const Record& record) const {
    LabelledText given = to_labelled(record.value);
    EncodedExample encoded =
        encode_labelled(*request_.tokenizer, given, classes_.number_of(given), request_.cutoff_len);
    if (encoded.example.ids.empty()) throw BadRow{"the text is empty"};
    check_ids(encoded.example.ids, request_.vocab_size, record.origin);
    RowResult result;
    result.example = std::move(encoded.example);
    result.truncated = encoded.truncated;
    return result;
  }

  RowResult from_conversation(const Record& record) const {
    return encode_row(to_conversation(form_, entry_, record.value), record.origin, request_.cutoff_len);
  }

  RowResult encode_row(Conversation conversation, const std::string& origin, int64_t cutoff_len) const {
    RowResult result;
    if (conversation.system.empty()) conversation.system = request_.default_system;
    result.placeholder = has_placeholder(conversation);
    EncodedExample encoded;
    try {
      encoded = encode_conversation(*request_.chat, conversation,
                                    {.cutoff_len = cutoff_len,
                                     .train_on_prompt = request_.train_on_prompt,
                                     .mask_history = request_.mask_history,
                                     .truncation = request_.truncation});
    } catch (const Error& error) {
      // A template refuses a row (tools that are no JSON, turns it cannot write); the other rows are still
      // good.
      if (error.code() == ExitCode::kBadInput) throw BadRow{error.what()};
      throw;
    }
    check_ids(encoded.example.ids, request_.vocab_size, origin);
    result.example = std::move(encoded.example);
    result.truncated = encoded.truncated;
    return result;
  }

  void keep(RowResult&& result, const std::string& origin) {
    truncated_ += result.truncated;
    without_label_ += result.without_label;
    placeholders_ += result.placeholder;
    if (!result.problem.empty()) {
      if (dropped_++ < 3) shown_.push_back(fmt::format("{}: {}", origin, result.problem));
      if (out_.dropped_rows.size() < kMaxDroppedRows)
        out_.dropped_rows.push_back({origin, std::move(result.problem)});
    } else if (blocks_) {
      blocks_->append(std::move(result.text), origin);
    } else {
      for (const Example& sample : result.example.samples()) out_.examples.append(sample, origin);
    }
  }

  void report() {
    out_.rows_read += rows_;
    out_.dropped += dropped_;
    out_.truncated += truncated_;
    out_.without_label += without_label_;
    out_.notes.insert(out_.notes.end(), entry_.notes.begin(), entry_.notes.end());
    std::string examples = fmt::format("{}{}", fmt::join(shown_, "; "), dropped_ > 3 ? "; …" : "");
    if (without_label_ * 2 > rows_)
      fail_input(
          "{}: {} of {} rows have nothing to learn: {}. Raise cutoff_len (now {}), shorten the prompts, or "
          "check the loss "
          "flags and the labels of the rows",
          entry_.path.string(), without_label_, rows_, examples, request_.cutoff_len);
    if (dropped_ == rows_)
      fail_input("{}: none of the {} rows can be used ({} form): {}", entry_.path.string(), rows_,
                 form_name(form_), examples);
    if (dropped_ > 0)
      out_.notes.push_back(
          fmt::format("{}: {} of {} rows dropped: {}", entry_.name, dropped_, rows_, examples));
    if (truncated_ > 0)
      out_.notes.push_back(fmt::format("{}: {} of {} rows cut at cutoff_len {}", entry_.name, truncated_,
                                       rows_, request_.cutoff_len));
    if (placeholders_ > 0)
      out_.notes.push_back(
          fmt::format("{}: {} rows hold {{{{name}}}} or {{{{author}}}}: replace them by the names that the "
                      "model shall give itself",
                      entry_.name, placeholders_));
  }

  const DatasetEntry& entry_;
  const DatasetRequest& request_;
  ClassNumbers& classes_;
  Dataset& out_;
  bool compares_ = false;
  Form form_ = Form::kText;
  std::unique_ptr<TextBlocks> blocks_;
  int64_t rows_ = 0, dropped_ = 0, truncated_ = 0, without_label_ = 0, placeholders_ = 0;
  std::vector<std::string> shown_;
};

void interleave(const DatasetRequest& request, const std::vector<size_t>& ends, Dataset& data) {
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < ends.size(); ++i) {
    sizes.push_back(static_cast<int64_t>(ends[i] - (i ? ends[i - 1] : 0)));
    if (sizes.back() == 0) fail_input("dataset {}: no example is left to interleave", request.datasets[i]);
  }
  std::vector<size_t> order;
  for (auto [set, row] : mix_order(sizes, request.mix_strategy, request.interleave_probs, request.seed))
    order.push_back((set ? ends[set - 1] : 0) + static_cast<size_t>(row));
  data.examples = data.examples.select(order);
}

}  // namespace

DatasetEntry dataset_entry(const DatasetRequest& request, const std::string& name) {
  DatasetEntry entry = find_dataset(request.dataset_dir, name);
  if (!entry.pattern) entry.pattern = request.pattern;
  return entry;
}

std::vector<std::string> inspect_dataset(const DatasetRequest& request,
                                         const std::function<bool(int64_t row)>& wanted,
                                         const std::function<void(Record&&, InspectedRow&&)>& take) {
  Dataset data;
  ClassNumbers classes;
  int64_t row = 0;
  for (const std::string& name : request.datasets) {
    DatasetEntry entry = dataset_entry(request, name);
    DatasetLoader loader(entry, request, classes, data);
    if (row == 0) loader.compare_templates();
    loader.inspect(row, wanted, take);
  }
  return data.notes;
}

Dataset load_dataset(const DatasetRequest& request) {
  Dataset data;
  std::vector<size_t> ends;  // of each data set in data.examples
  auto encode = [&](const std::filesystem::path& files) {
    if (!files.empty()) data.examples = Examples::in_files(files);
    ClassNumbers classes;
    for (const std::string& name : request.datasets) {
      DatasetEntry entry = dataset_entry(request, name);
      DatasetLoader loader(entry, request, classes, data);
      if (ends.empty()) loader.compare_templates();
      loader.run();
      ends.push_back(data.examples.size());
    }
    data.label_names = classes.names();
    data.examples.seal();
  };
  if (request.files.empty())
    encode({});
  else
    encode_in_files(request, data, ends, encode);
  if (data.examples.empty())
    fail_input("dataset {}: no example is left to learn from", fmt::join(request.datasets, ", "));
  if (trains_pairs(request.stage)) {
    std::vector<std::vector<int64_t>> sides(data.examples.size() / 2);
    for (size_t i = 0; i < sides.size(); ++i)
      sides[i] = {static_cast<int64_t>(2 * i), static_cast<int64_t>(2 * i + 1)};
    data.examples = data.examples.grouped(sides);
    for (size_t& end : ends) end /= 2;
  }
  if (request.mix_strategy != MixStrategy::kConcat && ends.size() > 1) interleave(request, ends, data);
  return data;
}

void pack_rows(Dataset& data, int64_t cutoff_len) {
  size_t samples = data.examples.size();
  data.examples = pack_best_fit(data.examples, cutoff_len);
  data.notes.push_back(fmt::format("{} samples packed into {} rows of at most {} tokens", samples,
                                   data.examples.size(), cutoff_len));
}

Dataset split_validation(Dataset& data, double val_size, uint64_t seed) {
  int64_t all = static_cast<int64_t>(data.examples.size());
  int64_t kept =
      static_cast<int64_t>(val_size < 1 ? std::ceil(val_size * static_cast<double>(all)) : val_size);
  if (kept < 1 || kept >= all)
    fail_usage("val_size {}: {} of {} examples would be kept for evaluation", val_size, kept, all);
  std::vector<int64_t> order = NumpyGenerator(seed).permutation(all);
  std::vector<size_t> rows(order.begin(), order.end());
  Dataset validation;
  validation.examples = data.examples.select({rows.begin(), rows.begin() + kept});
  data.examples = data.examples.select({rows.begin() + kept, rows.end()});
  return validation;
}

}  // namespace fettle
