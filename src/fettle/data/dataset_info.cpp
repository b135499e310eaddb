#include "fettle/data/dataset_info.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/data/reader.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

using Fields = std::map<std::string, std::string>;

const Fields kColumns = {
    {"prompt", "instruction"}, {"query", "input"}, {"response", "output"}, {"messages", "conversations"}};
/// Not read unless an entry names them; rows of files that stand in no registry may have them under these
/// names.
const Fields kMoreColumns = {{"history", "history"},
                             {"system", "system"},
                             {"tools", "tools"},
                             {"chosen", "chosen"},
                             {"rejected", "rejected"}};
const Fields kTags = {
    {"role_tag", "from"},     {"content_tag", "value"},           {"user_tag", "human"},
    {"assistant_tag", "gpt"}, {"observation_tag", "observation"}, {"function_tag", "function_call"},
    {"system_tag", "system"}};
/// Tags of formatting "openai" that an entry does not name.
const Fields kOpenAiTags = {{"role_tag", "role"},        {"content_tag", "content"},
                            {"user_tag", "user"},        {"assistant_tag", "assistant"},
                            {"observation_tag", "tool"}, {"function_tag", "function"},
                            {"system_tag", "system"}};

std::vector<std::string> names_of(const Fields& fields) {
  std::vector<std::string> names;
  for (const auto& [name, value] : fields) names.push_back(name);
  return names;
}

class EntryReader {
 public:
  EntryReader(const Json& info, const fs::path& dataset_dir, const std::string& name,
              const fs::path& registry)
      : info_(info),
        dataset_dir_(dataset_dir),
        origin_(fmt::format("{}: {}", registry.string(), printable(name))) {
    entry_.name = name;
    entry_.registered = true;
  }

  DatasetEntry read() {
    if (!info_.is_object()) fail_input("{}: expected an object", origin_);
    refuse_what_is_not_local();
    read_path();
    read_formatting();
    read_columns();
    read_tags();
    read_rows();
    read_pattern();
    for (const auto& [key, value] : info_.items()) note_key(key, value);
    return std::move(entry_);
  }

 private:
  bool given(const char* key) const { return info_.contains(key) && !info_[key].is_null(); }

  void refuse_what_is_not_local() const {
    for (const char* key : {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"})
      if (given(key))
        fail_input(
            "{}: {}: nothing is downloaded or run here; fetch the data and write its file_name instead",
            origin_, key);
  }

  void read_path() {
    if (!given("file_name") || !info_["file_name"].is_string())
      fail_input("{}: file_name is missing", origin_);
    std::string text = info_["file_name"].get<std::string>();
    if (text.find("://") != std::string::npos)
      fail_input("{}: file_name {}: nothing is downloaded; fetch the file and name it", origin_,
                 printable(text));
    fs::path file = text;
    if (text.empty() || text.find('\0') != std::string::npos ||
        std::find(file.begin(), file.end(), "..") != file.end())
      fail_input("{}: file_name {}: expected a path within {} or an absolute one", origin_, printable(text),
                 dataset_dir_.string());
    entry_.path = file.is_absolute() ? file : dataset_dir_ / file;
    if (!fs::exists(entry_.path) && text.find_first_of("*?") == std::string::npos)
      fail_input("{}: file_name {}: no such file or folder", origin_, entry_.path.string());
  }

  void read_formatting() {
    if (!given("formatting")) {
      // LLaMA-Factory takes alpaca; here an entry that names nothing leaves it to the rows.
      if (given("columns")) entry_.formatting = "alpaca";
      return;
    }
    entry_.formatting = info_["formatting"].is_string() ? info_["formatting"].get<std::string>() : "";
    if (entry_.formatting != "alpaca" && entry_.formatting != "sharegpt" && entry_.formatting != "openai")
      fail_input("{}: formatting is {}, expected alpaca, sharegpt or openai", origin_,
                 printable(info_["formatting"].dump()));
  }

  Fields named(const char* key, Fields known) const {
    if (!info_[key].is_object()) fail_input("{}: {} must be an object", origin_, key);
    Fields fields;
    for (const auto& [name, value] : info_[key].items()) {
      if (value.is_null()) continue;
      for (const char* other : {"images", "videos", "audios"})
        if (name == other) fail_input("{}: {}.{}: only text can be trained on", origin_, key, name);
      if (name == "kto_tag" && value.is_string()) {
        if (value != "label" && value != name)
          fail_input("{}: {}.{}: expected \"label\", other names of this field are not supported", origin_,
                     key, name);
        continue;
      }
      if (!known.contains(name)) {
        std::string near = nearest(name, names_of(known));
        fail_input("{}: {}.{} is unknown{}; known: {}", origin_, key, printable(name),
                   near.empty() ? "" : fmt::format(", did you mean {}?", near),
                   fmt::join(names_of(known), ", "));
      }
      if (!value.is_string()) fail_input("{}: {}.{} must be text", origin_, key, name);
      fields[name] = value.get<std::string>();
    }
    return fields;
  }

  void read_columns() {
    Fields known = kColumns;
    known.insert(kMoreColumns.begin(), kMoreColumns.end());
    entry_.columns = given("columns") ? named("columns", known) : kColumns;
    if (given("columns") && (entry_.formatting == "alpaca") && !entry_.columns.contains("prompt"))
      fail_input("{}: columns names no prompt; columns that are not named are not read", origin_);
    if (given("columns") && entry_.formatting != "alpaca" && !entry_.columns.contains("messages"))
      fail_input("{}: columns names no messages; columns that are not named are not read", origin_);
  }

  void read_tags() {
    entry_.tags = entry_.formatting == "openai" ? kOpenAiTags : kTags;
    entry_.tags_given = given("tags");
    if (!entry_.tags_given) return;
    // LLaMA-Factory forgets tags that are not named and then drops every row that uses them; keeping them
    // loses nothing.
    for (const auto& [tag, value] : named("tags", kTags)) entry_.tags[tag] = value;
  }

  void read_rows() {
    if (given("num_samples")) {
      const Json& number = info_["num_samples"];
      if (!number.is_number_integer() || number.get<double>() < 1 || number.get<double>() > 1e9)
        fail_input("{}: num_samples is {}, expected a number from 1 to 1,000,000,000", origin_,
                   printable(number.dump()));
      entry_.num_samples = number.get<int64_t>();
    }
    if (!given("split")) return;
    if (!info_["split"].is_string()) fail_input("{}: split must be text", origin_);
    auto [split, slice] = split_name_and_slice(info_["split"].get<std::string>(), origin_ + ": split");
    static const std::map<std::string, std::string> kSplits = {
        {"train", "train"},    {"validation", "validation"}, {"valid", "validation"},
        {"val", "validation"}, {"dev", "validation"},        {"test", "test"},
        {"eval", "test"}};
    auto known = kSplits.find(split);
    if (known == kSplits.end() || (known->second != "train" && !fs::is_directory(entry_.path)))
      fail_input("{}: split \"{}\": {}", origin_, printable(split),
                 known == kSplits.end() ? "expected train, validation or test"
                                        : "a single file is one split, train; name the file of that split");
    entry_.split = known->second;
    entry_.slice = slice;
  }

  void read_pattern() {
    if (!given("prompt_pattern")) return;
    for (const char* key : {"prompt_pattern", "prompt_pattern_trained_from"})
      if (given(key) && !info_[key].is_string()) fail_input("{}: {} must be text", origin_, key);
    entry_.pattern = std::make_shared<PromptPattern>(
        info_["prompt_pattern"].get<std::string>(),
        given("prompt_pattern_trained_from") ? info_["prompt_pattern_trained_from"].get<std::string>() : "");
  }

  // A subset is a folder below the data set's.
  bool enter_folder(const Json& name) {
    if (!name.is_string() || !fs::is_directory(entry_.path)) return false;
    fs::path folder = name.get<std::string>();
    if (folder.is_absolute() || std::find(folder.begin(), folder.end(), "..") != folder.end() ||
        !fs::is_directory(entry_.path / folder))
      fail_input("{}: {} is no folder in {}", origin_, printable(name.dump()), entry_.path.string());
    entry_.path /= folder;
    return true;
  }

  void note_key(const std::string& key, const Json& value) {
    static const std::vector<std::string> known = {
        "file_name",  "formatting",      "columns",        "tags",
        "ranking",    "num_samples",     "split",          "subset",
        "folder",     "hf_hub_url",      "ms_hub_url",     "om_hub_url",
        "script_url", "cloud_file_name", "prompt_pattern", "prompt_pattern_trained_from"};
    if (value.is_null()) return;
    if ((key == "subset" || key == "folder") && !enter_folder(value))
      entry_.notes.push_back(fmt::format("{}: {} has no effect on a local file", origin_, key));
    if (std::find(known.begin(), known.end(), key) != known.end()) return;
    std::string near = nearest(key, known);
    entry_.notes.push_back(fmt::format("{}: the key {} is unknown and has no effect{}", origin_,
                                       printable(key),
                                       near.empty() ? "" : fmt::format("; did you mean {}?", near)));
  }

  const Json& info_;
  const fs::path& dataset_dir_;
  std::string origin_;
  DatasetEntry entry_;
};

}  // namespace

const std::string& DatasetEntry::column(const std::string& column) const {
  static const std::string none;
  auto found = columns.find(column);
  return found == columns.end() ? none : found->second;
}

DatasetEntry find_dataset(const fs::path& dataset_dir, const std::string& name) {
  fs::path registry = dataset_dir / "dataset_info.json";
  std::vector<std::string> known;
  Json json;
  if (fs::exists(registry)) {
    json = read_json(registry);
    if (!json.is_object()) fail_input("{}: expected a JSON object of data sets", registry.string());
    for (const auto& [key, value] : json.items()) known.push_back(key);
  }
  auto look_up = [&](const std::string& wanted) -> std::optional<DatasetEntry> {
    if (json.contains(wanted)) return EntryReader(json[wanted], dataset_dir, wanted, registry).read();
    if (wanted.empty() || wanted.find('\0') != std::string::npos) return std::nullopt;
    for (const fs::path& candidate : {fs::path(wanted), dataset_dir / wanted}) {
      if (!fs::exists(candidate) && !fits_any_file(candidate)) continue;
      DatasetEntry entry;
      entry.name = wanted;
      entry.path = candidate;
      entry.columns = kColumns;
      entry.columns.insert(kMoreColumns.begin(), kMoreColumns.end());
      entry.tags = kTags;
      return entry;
    }
    return std::nullopt;
  };
  if (std::optional<DatasetEntry> entry = look_up(name)) return *entry;
  std::string bare = name;
  if (name.ends_with("]")) {
    auto [base, slice] = split_name_and_slice(name, fmt::format("dataset {}", printable(name)));
    if (std::optional<DatasetEntry> entry = look_up(base)) {
      if (entry->slice && slice) fail_usage("dataset {}: its entry has a slice already", printable(name));
      entry->slice = slice;
      return *entry;
    }
    bare = base;
  }
  if (name.find("://") != std::string::npos)
    fail_usage("dataset \"{}\": nothing is downloaded; fetch the file and name it", printable(name));
  if (known.empty())
    fail_usage("dataset \"{}\": no such file, and {} {}", printable(bare), registry.string(),
               fs::exists(registry) ? "is empty" : "does not exist");
  std::string near = nearest(bare, known);
  fail_usage("dataset \"{}\": neither a file nor a name in {}{}; it has {}", printable(bare),
             registry.string(), near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near),
             fmt::join(known, ", "));
}

}  // namespace fettle
