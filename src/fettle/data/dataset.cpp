#include "fettle/data/dataset.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/data/encode.h"
#include "fettle/data/forms.h"

namespace fettle {
namespace {

/// What became of one row.
struct RowResult {
  Example example;
  std::string problem;   ///< not empty: dropped, and why
  bool truncated = false;
};

std::vector<int32_t> id_list(const OrderedJson& json, const char* key, bool labels, int64_t vocab_size) {
  if (!json.is_array()) throw BadRow{fmt::format("{} is not a list", key)};
  std::vector<int32_t> ids;
  ids.reserve(json.size());
  for (const OrderedJson& value : json) {
    bool fits = value.is_number_integer() && value.get<double>() >= (labels ? -100 : 0) && value.get<double>() < static_cast<double>(vocab_size);
    if (!fits)
      throw Error(ExitCode::kBadInput, fmt::format("{} holds {}, expected ids below the model's vocab_size {}", key, printable(value.dump(), 30), vocab_size));
    int32_t id = value.get<int32_t>();
    ids.push_back(id < 0 ? kIgnoreLabel : id);
  }
  return ids;
}

RowResult from_tokens(const OrderedJson& row, const DatasetRequest& request) {
  RowResult result;
  Example& example = result.example;
  example.ids = id_list(row["input_ids"], "input_ids", false, request.vocab_size);
  bool labelled = row.contains("labels") && !row["labels"].is_null();
  example.labels = labelled ? id_list(row["labels"], "labels", true, request.vocab_size) : example.ids;
  if (example.labels.size() != example.ids.size())
    throw Error(ExitCode::kBadInput, fmt::format("{} labels for {} input_ids", example.labels.size(), example.ids.size()));
  if (static_cast<int64_t>(example.ids.size()) > request.cutoff_len) {
    example.ids.resize(static_cast<size_t>(request.cutoff_len));
    example.labels.resize(static_cast<size_t>(request.cutoff_len));
    result.truncated = true;
  }
  return result;
}

bool has_target(const Example& example) {
  // A label on the first token has nothing before it that could predict it.
  for (size_t t = 1; t < example.labels.size(); ++t)
    if (example.labels[t] >= 0) return true;
  return false;
}

RowResult convert_row(const Record& record, Form form, const DatasetEntry& entry, const DatasetRequest& request) {
  RowResult result;
  try {
    if (form == Form::kTokens) {
      if (!record.value.is_object() || !record.value.contains("input_ids")) throw BadRow{"input_ids is missing"};
      result = from_tokens(record.value, request);
    } else {
      Conversation conversation = to_conversation(form, entry, record.value);
      if (conversation.system.empty()) conversation.system = request.default_system;
      EncodedExample encoded = encode_conversation(*request.chat, conversation,
                                                   {.cutoff_len = request.cutoff_len, .train_on_prompt = request.train_on_prompt, .mask_history = request.mask_history});
      for (int32_t id : encoded.example.ids)
        if (id >= request.vocab_size)
          throw Error(ExitCode::kBadInput, fmt::format("token id {} is not below the model's vocab_size {}; is this the model's own tokenizer?", id, request.vocab_size));
      result.example = std::move(encoded.example);
      result.truncated = encoded.truncated;
    }
  } catch (const BadRow& bad) {
    result.problem = bad.reason;
    return result;
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", record.origin, error.what()));
  }
  if (!has_target(result.example)) result.problem = result.truncated ? "no trained token is left within cutoff_len" : "no token has a label";
  return result;
}

// Continued pre-training: texts, each ended by eos, laid end to end and cut into blocks.
void append_blocks(const std::vector<Record>& records, const DatasetRequest& request, Dataset& out) {
  if (!request.tokenizer) fail_input("{}: stage pt needs the model's tokenizer", records.front().origin);
  std::optional<TokenId> eos = request.tokenizer->eos_id();
  std::vector<std::vector<TokenId>> pieces(records.size());
  parallel_for(static_cast<int64_t>(records.size()), [&](int64_t i) {
    const Record& record = records[static_cast<size_t>(i)];
    const OrderedJson& row = record.value;
    const char* key = row.is_object() && row.contains("text") ? "text" : "prompt";
    if (!row.is_object() || !row.contains(key) || !row[key].is_string()) fail_input("{}: stage pt needs rows with a \"text\"", record.origin);
    std::vector<TokenId>& ids = pieces[static_cast<size_t>(i)];
    ids = request.tokenizer->encode(row[key].get_ref<const std::string&>(), false);
    if (eos) ids.push_back(*eos);
    for (TokenId id : ids)
      if (id >= request.vocab_size) fail_input("{}: token id {} is not below the model's vocab_size {}", record.origin, id, request.vocab_size);
  });
  size_t block = static_cast<size_t>(request.cutoff_len);
  std::vector<TokenId> stream;
  auto cut = [&](size_t length) {
    Example example;
    example.ids.assign(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(length));
    example.labels = example.ids;
    stream.erase(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(length));
    out.examples.push_back(std::move(example));
  };
  for (const std::vector<TokenId>& piece : pieces) {
    stream.insert(stream.end(), piece.begin(), piece.end());
    while (stream.size() >= block) cut(block);
  }
  // LLaMA-Factory drops the rest; so little text that there is no whole block is kept.
  if (out.examples.empty() && stream.size() > 1) cut(stream.size());
}

std::vector<Record> selected(std::vector<Record> records, const DatasetEntry& entry, const DatasetRequest& request) {
  if (entry.num_samples) {
    // As LLaMA-Factory: a random choice, with repetition beyond the size of the set.
    int64_t wanted = *entry.num_samples, size = static_cast<int64_t>(records.size());
    std::vector<int64_t> order = random_permutation(size, {request.seed, RandomUse::kDataOrder, 1, 0});
    RandomStream more({request.seed, RandomUse::kDataOrder, 2, 0});
    std::vector<Record> chosen;
    for (int64_t i = 0; i < wanted; ++i)
      chosen.push_back(records[static_cast<size_t>(i < size ? order[static_cast<size_t>(i)] : static_cast<int64_t>(more.below(static_cast<uint64_t>(size))))]);
    records = std::move(chosen);
  }
  if (request.max_samples && static_cast<int64_t>(records.size()) > *request.max_samples) records.resize(static_cast<size_t>(*request.max_samples));
  return records;
}

void append_rows(const std::vector<Record>& records, const DatasetEntry& entry, const DatasetRequest& request, Dataset& out) {
  Form form = detect_form(entry, records.front());
  if (form == Form::kText) fail_input("{}: plain text rows are for stage pt; set stage: pt", records.front().origin);
  if (form != Form::kTokens && !request.chat)
    fail_input("{}: the model has no chat template; name one, for example template=chatml (see fettle config explain template)", entry.path.string());
  std::vector<RowResult> results(records.size());
  std::atomic<int64_t> done{0};
  constexpr size_t kChunk = 64;
  int64_t chunks = static_cast<int64_t>((records.size() + kChunk - 1) / kChunk);
  parallel_for(chunks, [&](int64_t chunk) {
    size_t begin = static_cast<size_t>(chunk) * kChunk, end = std::min(records.size(), begin + kChunk);
    for (size_t i = begin; i < end; ++i) results[i] = convert_row(records[i], form, entry, request);
    int64_t now = done += static_cast<int64_t>(end - begin);
    if (request.progress) request.progress(now, static_cast<int64_t>(records.size()));
  });
  std::vector<std::string> shown;
  int64_t dropped = 0, truncated = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    truncated += results[i].truncated;
    if (results[i].problem.empty()) {
      out.examples.push_back(std::move(results[i].example));
    } else if (++dropped <= 3) {
      shown.push_back(fmt::format("{}: {}", records[i].origin, results[i].problem));
    }
  }
  out.dropped += dropped;
  out.truncated += truncated;
  if (dropped == static_cast<int64_t>(records.size()))
    fail_input("{}: none of the {} rows can be trained on ({} form): {}", entry.path.string(), records.size(), form_name(form), fmt::join(shown, "; "));
  if (dropped > 0) out.notes.push_back(fmt::format("{}: {} of {} rows dropped: {}{}", entry.name, dropped, records.size(),
                                                   fmt::format("{}", fmt::join(shown, "; ")), dropped > 3 ? "; …" : ""));
  if (truncated > 0) out.notes.push_back(fmt::format("{}: {} of {} rows cut at cutoff_len {}", entry.name, truncated, records.size(), request.cutoff_len));
}

}  // namespace

Dataset load_dataset(const DatasetRequest& request) {
  Dataset data;
  for (const std::string& name : request.datasets) {
    DatasetEntry entry = find_dataset(request.dataset_dir, name);
    std::vector<Record> records = selected(read_records(entry.path), entry, request);
    data.rows_read += static_cast<int64_t>(records.size());
    if (request.stage == "pt") append_blocks(records, request, data);
    else append_rows(records, entry, request, data);
  }
  if (data.examples.empty()) fail_input("dataset {}: no example is left to learn from", fmt::join(request.datasets, ", "));
  return data;
}

}  // namespace fettle
