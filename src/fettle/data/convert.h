// One form of data into another.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fettle/data/dataset.h"
#include "fettle/data/forms/forms.h"

namespace fettle {

/// The form called "alpaca", "sharegpt", "messages", "emollm" or "prompt-completion". Error(kUsage) with what
/// is known.
Form parse_target_form(const std::string& name);

/// A conversation as a row of `form`, with the field names that the readers expect by default. Throws BadRow
/// when the form has no place for what the conversation holds: tools outside ShareGPT and messages, several
/// rounds in prompt/completion, turns that are not trained in alpaca's history.
OrderedJson write_row(Form form, const Conversation& conversation);

struct ConvertReport {
  int64_t read = 0, written = 0;
  Form from = Form::kAlpaca;
  std::vector<DroppedRow> dropped_rows;  ///< the first 1,000
  /// What dataset_info.json needs for the new file, as JSON text.
  std::string registry_entry;
};

/// Converts a data set (a name or a path, see find_dataset()) into a .json or .jsonl file; `default_system`
/// goes to conversations without a system prompt. Error(kBadInput) for rows that are no conversations (plain
/// text, token ids) and when no row fits; Error(kUsage) when output and input are one file. Nothing is
/// written then.
ConvertReport convert_dataset(const std::filesystem::path& dataset_dir, const std::string& dataset,
                              Form target, const std::filesystem::path& output,
                              const std::string& default_system = "",
                              const std::function<void(int64_t rows)>& progress = {});

}  // namespace fettle
