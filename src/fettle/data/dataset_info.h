// dataset_info.json: LLaMA-Factory's registry of data sets.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace fettle {

/// Where a data set is and how its rows are laid out. A column that is empty is absent.
struct DatasetEntry {
  std::string name;
  std::filesystem::path path;
  std::string formatting;                ///< "alpaca", "sharegpt", "openai"; empty: told from the rows
  std::map<std::string, std::string> columns;  ///< prompt, query, response, history, messages, system, tools
  std::map<std::string, std::string> tags;     ///< role_tag, content_tag, user_tag, assistant_tag, …
  std::optional<int64_t> num_samples;
};

/// The entry of `name` in <dataset_dir>/dataset_info.json, or a file or folder of that path. Error(kUsage) naming the
/// nearest registered name; hub sources and preference data are refused.
DatasetEntry find_dataset(const std::filesystem::path& dataset_dir, const std::string& name);

}  // namespace fettle
