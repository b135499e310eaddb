// dataset_info.json: LLaMA-Factory's registry of data sets.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fettle/data/forms/pattern.h"
#include "fettle/data/row_slice.h"

namespace fettle {

/// Where a data set is and how its rows are laid out. A column that is absent from `columns` is not read.
struct DatasetEntry {
  std::string name;
  std::filesystem::path path;                  ///< file, folder or pattern
  bool registered = false;                     ///< from dataset_info.json: only the columns it names are read
  std::string formatting;                      ///< "alpaca", "sharegpt", "openai"; empty: told from the rows
  std::map<std::string, std::string> columns;  ///< prompt, query, response, history, messages, system, …
  std::map<std::string, std::string> tags;     ///< role_tag, content_tag, user_tag, assistant_tag, …
  bool tags_given = false;
  std::shared_ptr<const PromptPattern> pattern;  ///< null: rows have a form of their own
  std::optional<int64_t> num_samples;
  std::optional<RowSlice> slice;   ///< of `split`, or written behind the name
  std::string split = "train";     ///< which files of a folder; see data_files()
  std::vector<std::string> notes;  ///< keys without effect, for the user

  /// The field of the row that holds `column`; empty when it is not read.
  const std::string& column(const std::string& column) const;
};

/// The entry of `name` in <dataset_dir>/dataset_info.json, or a file, folder or pattern (* and ?) of that
/// path, itself or in dataset_dir. A slice may stand behind either: "alpaca_zh[:500]". Naming any column
/// forgets the defaults of the others, as in LLaMA-Factory. Error(kUsage) naming the nearest registered name;
/// hub sources, URLs, paths with ".." in the registry, images and preference data are refused.
DatasetEntry find_dataset(const std::filesystem::path& dataset_dir, const std::string& name);

}  // namespace fettle
