#include "fettle/data/encoded_files.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/hash.h"
#include "fettle/base/version.h"
#include "fettle/data/dataset_info.h"
#include "fettle/data/reader.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMeta = "encoded.json";
constexpr int kFormatVersion = 2;

// A data set as it is read: its entry and its files.
Json data_key(const DatasetRequest& request, const std::string& name) {
  DatasetEntry entry = find_dataset(request.dataset_dir, name);
  Json files = Json::object();
  for (const fs::path& file : data_files(entry.path, entry.split))
    files[file.filename().string()] = file_hash(file);
  Json key = {{"name", name},
              {"split", entry.split},
              {"files", files},
              {"formatting", entry.formatting},
              {"columns", entry.columns},
              {"tags", entry.tags}};
  if (entry.num_samples) key["num_samples"] = *entry.num_samples;
  if (entry.slice) key["slice"] = entry.slice->text();
  const PromptPattern* pattern = entry.pattern ? entry.pattern.get() : request.pattern.get();
  if (pattern) key["prompt_pattern"] = pattern->text();
  return key;
}

// The first part in which two keys differ.
std::string difference(const Json& made, const Json& wanted) {
  for (const auto& [part, value] : wanted.items())
    if (!made.contains(part) || made[part] != value) return part;
  return "format";
}

void read_kept(const DatasetRequest& request, const Json& key, Dataset& data, std::vector<size_t>& ends) {
  const fs::path path = request.files / kMeta;
  const Json meta = read_json(path);
  auto damaged = [&] {
    fail_input("{}: damaged; overwrite_cache: true makes the folder anew", path.string());
  };
  if (!meta.is_object() || !meta.contains("key") || !meta["key"].is_object()) damaged();
  if (meta["key"] != key)
    fail_usage(
        "{}: these rows were encoded with another {}; name another tokenized_path, or set "
        "overwrite_cache: true",
        request.files.string(), difference(meta["key"], key));
  data.examples = Examples::open(request.files, request.vocab_size);
  try {
    ends = meta.at("ends").get<std::vector<size_t>>();
    data.notes = meta.at("notes").get<std::vector<std::string>>();
    data.rows_read = meta.at("rows_read");
    data.dropped = meta.at("dropped");
    data.without_label = meta.at("without_label");
    data.truncated = meta.at("truncated");
    data.label_names = meta.at("label_names").get<std::vector<std::string>>();
    for (const Json& row : meta.at("dropped_rows"))
      data.dropped_rows.push_back({row.at(0).get<std::string>(), row.at(1).get<std::string>()});
  } catch (const Json::exception&) {
    damaged();
  }
  for (size_t i = 0; i < ends.size(); ++i)
    if (ends[i] > data.examples.size() || (i && ends[i] < ends[i - 1])) damaged();
  if (ends.size() != request.datasets.size() || (!ends.empty() && ends.back() != data.examples.size()))
    damaged();
}

void write_meta(const fs::path& folder, const Json& key, const Dataset& data,
                const std::vector<size_t>& ends) {
  Json dropped = Json::array();
  for (const DroppedRow& row : data.dropped_rows) dropped.push_back({row.origin, row.reason});
  Json meta = {{"format_version", kFormatVersion},
               {"key", key},
               {"ends", ends},
               {"notes", data.notes},
               {"rows_read", data.rows_read},
               {"dropped", data.dropped},
               {"without_label", data.without_label},
               {"truncated", data.truncated},
               {"label_names", data.label_names},
               {"dropped_rows", dropped}};
  write_file_atomically(folder / kMeta, meta.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

Json encoding_key(const DatasetRequest& request) {
  Json tokenizer = Json::object();
  if (request.tokenizer)
    for (const fs::path& file : request.tokenizer->files())
      tokenizer[file.filename().string()] = file_hash(file);
  std::string chat = request.chat ? request.chat->name() + "\n" + request.tokenizer->chat_template() : "";
  Hash chat_hash;
  chat_hash.add(chat.data(), chat.size());
  Json data = Json::array();
  for (const std::string& name : request.datasets) data.push_back(data_key(request, name));
  return {{"version", kVersion},
          {"tokenizer", tokenizer},
          {"template", chat_hash.text() + " " + request.template_options},
          {"cutoff_len", request.cutoff_len},
          {"truncation_mode", static_cast<int>(request.truncation)},
          {"max_samples", request.max_samples.value_or(-1)},
          {"train_on_prompt", request.train_on_prompt},
          {"mask_history", request.mask_history},
          {"default_system", request.default_system},
          {"stage", request.stage},
          {"packing", request.stage == "pt" && request.packing.value_or(true)},
          {"vocab_size", request.vocab_size},
          {"seed", request.seed},
          {"data", data}};
}

void encode_in_files(const DatasetRequest& request, Dataset& data, std::vector<size_t>& ends,
                     const std::function<void(const fs::path& folder)>& encode) {
  fs::path folder = request.files;
  if (!folder.has_filename()) folder = folder.parent_path();
  const fs::path staging = folder.string() + fmt::format(".partial-{}", ::getpid());
  if (!request.keep_files) {
    try {
      encode(staging);
    } catch (...) {
      fs::remove_all(staging);
      throw;
    }
    fs::remove_all(staging);  // they stay mapped
    std::error_code not_empty;
    fs::remove(folder.parent_path(), not_empty);  // a dry run leaves nothing behind
    return;
  }
  const Json key = encoding_key(request);
  if (fs::exists(folder / kMeta) && !request.overwrite_files) {
    read_kept(request, key, data, ends);
    return;
  }
  if (fs::exists(folder) &&
      !(fs::is_directory(folder) && (fs::is_empty(folder) || fs::exists(folder / kMeta))))
    fail_usage("tokenized_path {}: holds something else; name a new or an empty folder", folder.string());
  try {
    encode(staging);
    write_meta(staging, key, data, ends);
    fs::remove_all(folder);
    fs::rename(staging, folder);
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(staging);
    fail_resources("tokenized_path {}: {}", folder.string(), error.code().message());
  } catch (...) {
    fs::remove_all(staging);
    throw;
  }
}

}  // namespace fettle
