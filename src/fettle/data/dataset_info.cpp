#include "fettle/data/dataset_info.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

const std::map<std::string, std::string> kColumns = {{"prompt", "instruction"}, {"query", "input"}, {"response", "output"},
                                                     {"history", ""}, {"messages", "conversations"}, {"system", ""}, {"tools", ""}};
const std::map<std::string, std::string> kTags = {{"role_tag", "from"}, {"content_tag", "value"}, {"user_tag", "human"},
                                                  {"assistant_tag", "gpt"}, {"observation_tag", "observation"},
                                                  {"function_tag", "function_call"}, {"system_tag", "system"}};

// Naming any column forgets the defaults of the others, as in LLaMA-Factory.
std::map<std::string, std::string> named_fields(const Json& entry, const char* key, const std::map<std::string, std::string>& defaults,
                                                const std::string& origin) {
  if (!entry.contains(key) || entry[key].is_null()) return defaults;
  if (!entry[key].is_object()) fail_input("{}: {} must be an object", origin, key);
  std::map<std::string, std::string> fields;
  for (const auto& [name, value] : entry[key].items()) {
    bool ignored = name == "images" || name == "videos" || name == "audios" || name == "chosen" || name == "rejected" || name == "kto_tag";
    if (ignored) fail_input("{}: {}.{}: this kind of data is not supported yet", origin, key, name);
    if (!defaults.contains(name)) {
      std::vector<std::string> known;
      for (const auto& [k, v] : defaults) known.push_back(k);
      fail_input("{}: {}.{} is unknown; known: {}", origin, key, printable(name), fmt::join(known, ", "));
    }
    if (value.is_null()) continue;
    if (!value.is_string()) fail_input("{}: {}.{} must be a column name", origin, key, name);
    fields[name] = value.get<std::string>();
  }
  return fields;
}

}  // namespace

DatasetEntry find_dataset(const fs::path& dataset_dir, const std::string& name) {
  DatasetEntry entry;
  entry.name = name;
  entry.columns = kColumns;
  entry.tags = kTags;
  fs::path registry = dataset_dir / "dataset_info.json";
  std::vector<std::string> known;
  if (fs::exists(registry)) {
    Json json = read_json(registry);
    if (!json.is_object()) fail_input("{}: expected a JSON object of data sets", registry.string());
    for (const auto& [key, value] : json.items()) known.push_back(key);
    if (json.contains(name)) {
      const Json& info = json[name];
      std::string origin = fmt::format("{}: {}", registry.string(), printable(name));
      if (!info.is_object()) fail_input("{}: expected an object", origin);
      for (const char* key : {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"})
        if (info.contains(key) && !info.contains("file_name"))
          fail_input("{}: {}: nothing is downloaded here; fetch the data and give its file_name", origin, key);
      if (!info.contains("file_name") || !info["file_name"].is_string()) fail_input("{}: file_name is missing", origin);
      if (info.value("ranking", Json(false)) == true) fail_input("{}: ranking: preference data is not supported yet", origin);
      fs::path file = info["file_name"].get<std::string>();
      entry.path = file.is_absolute() ? file : dataset_dir / file;
      if (info.contains("formatting")) {
        if (!info["formatting"].is_string()) fail_input("{}: formatting must be alpaca, sharegpt or openai", origin);
        entry.formatting = info["formatting"].get<std::string>();
        if (entry.formatting != "alpaca" && entry.formatting != "sharegpt" && entry.formatting != "openai")
          fail_input("{}: formatting is \"{}\", expected alpaca, sharegpt or openai", origin, printable(entry.formatting));
      } else if (info.contains("columns")) {
        entry.formatting = "alpaca";
      }
      entry.columns = named_fields(info, "columns", kColumns, origin);
      // Tags that are not named keep their meaning: without them no row could be read.
      for (const auto& [tag, value] : named_fields(info, "tags", kTags, origin)) entry.tags[tag] = value;
      if (info.contains("num_samples") && !info["num_samples"].is_null()) {
        if (!info["num_samples"].is_number_integer() || info["num_samples"].get<double>() < 1 || info["num_samples"].get<double>() > 1e12)
          fail_input("{}: num_samples must be a positive number", origin);
        entry.num_samples = info["num_samples"].get<int64_t>();
      }
      if (!fs::exists(entry.path)) fail_input("{}: file_name {}: no such file or folder", origin, entry.path.string());
      return entry;
    }
  }
  for (const fs::path& candidate : {fs::path(name), dataset_dir / name})
    if (fs::exists(candidate) && !name.empty()) {
      entry.path = candidate;
      return entry;
    }
  std::string near = nearest(name, known);
  std::string hint = near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near);
  if (known.empty())
    fail_usage("dataset \"{}\": no such file, and {} {}", printable(name), registry.string(), fs::exists(registry) ? "is empty" : "does not exist");
  fail_usage("dataset \"{}\": neither a file nor a name in {}{}; it has {}", printable(name), registry.string(), hint, fmt::join(known, ", "));
}

}  // namespace fettle
