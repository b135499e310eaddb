#include "fettle/base/config/config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/config/values.h"
#include "fettle/base/error.h"

namespace fettle {
namespace {

size_t index_of(std::string_view name) {
  const Option* option = find_option(name);
  FETTLE_CHECK(option && option->name == name, "no option is named {}", name);
  return option - all_options().data();
}

const Option& option_at(size_t index) {
  return all_options()[index];
}

// The one type T of a held value, or a defect: the caller asks for a type that the schema does not say.
template <typename T>
const T& held(const OptionValue& value, std::string_view name) {
  const T* typed = std::get_if<T>(&value);
  FETTLE_CHECK(typed, "option {} does not hold the type asked for, or is unset", name);
  return *typed;
}

template <typename T>
T convert(const OptionValue& value, std::string_view name) {
  if constexpr (std::is_same_v<T, int>)
    return static_cast<int>(held<int64_t>(value, name));
  else
    return held<T>(value, name);
}

// Absolute, links followed as far as the path exists, no "." or "..", no "/" at the end.
std::filesystem::path real_folder(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::path real =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, failed), failed);
  real = real.lexically_normal();
  return real.has_filename() || real == real.root_path() ? real : real.parent_path();
}

template <typename T>
struct Unwrap {
  using Type = T;
  static constexpr bool kOptional = false;
};
template <typename T>
struct Unwrap<std::optional<T>> {
  using Type = T;
  static constexpr bool kOptional = true;
};

}  // namespace

Config::Config() {
  for (const Option& option : all_options()) entries_.push_back({default_value(option), Origin()});
}

const Config::Entry& Config::entry(std::string_view name) const {
  return entries_[index_of(name)];
}
const OptionValue& Config::value(std::string_view name) const {
  return entry(name).value;
}
const Origin& Config::origin(std::string_view name) const {
  return entry(name).origin;
}
bool Config::is_set(std::string_view name) const {
  const OriginKind kind = origin(name).kind;
  return kind != OriginKind::kDefault && kind != OriginKind::kDerived;
}
std::string Config::value_text(std::string_view name) const {
  const size_t index = index_of(name);
  return yaml_text(option_at(index), entries_[index].value);
}

template <typename T>
T Config::get(std::string_view name) const {
  const OptionValue& found = value(name);
  using Bare = typename Unwrap<T>::Type;
  if constexpr (Unwrap<T>::kOptional) {
    if (std::holds_alternative<std::monostate>(found)) return std::nullopt;
  } else if constexpr (std::is_same_v<T, std::vector<std::string>> || std::is_same_v<T, std::string>) {
    if (std::holds_alternative<std::monostate>(found)) return T();
  }
  return convert<Bare>(found, name);
}

template bool Config::get(std::string_view) const;
template int Config::get(std::string_view) const;
template int64_t Config::get(std::string_view) const;
template double Config::get(std::string_view) const;
template std::string Config::get(std::string_view) const;
template std::vector<std::string> Config::get(std::string_view) const;
template std::optional<bool> Config::get(std::string_view) const;
template std::optional<int> Config::get(std::string_view) const;
template std::optional<int64_t> Config::get(std::string_view) const;
template std::optional<double> Config::get(std::string_view) const;
template std::optional<std::string> Config::get(std::string_view) const;
template std::optional<std::vector<std::string>> Config::get(std::string_view) const;

Json Config::object(std::string_view name) const {
  const OptionValue& found = value(name);
  if (std::holds_alternative<std::monostate>(found)) return nullptr;
  return Json::parse(held<std::string>(found, name));
}

void Config::require(std::string_view name, std::string_view who) const {
  const OptionValue& found = value(name);
  const auto* text = std::get_if<std::string>(&found);
  const auto* list = std::get_if<std::vector<std::string>>(&found);
  if (!std::holds_alternative<std::monostate>(found) && !(text && text->empty()) && !(list && list->empty()))
    return;
  fail_usage("{} needs {} ({}); write it into the YAML file or as {}=… on the command line", who, name,
             option_at(index_of(name)).help, name);
}

int64_t Config::steps(std::string_view name, int64_t total) const {
  const double amount = get<double>(name);
  return static_cast<int64_t>(amount < 1 ? std::ceil(amount * static_cast<double>(total)) : amount);
}

void Config::set(std::string_view name, std::string_view text, const Origin& origin) {
  const Option& option = option_or_fail(name, origin.text);
  RawValue raw;
  const bool is_null = text == "null" || text == "~";
  raw.kind = is_null ? RawValue::Kind::kNull : RawValue::Kind::kPlain;
  raw.text = text;
  Entry& target = entries_[&option - all_options().data()];
  target.value = parse_option_value(option, raw, origin.text);
  target.origin = origin;
}

std::string Config::to_yaml(bool all, bool origins) const {
  std::string out;
  const OptionGroup* group = nullptr;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Option& option = option_at(i);
    if (option.status != OptionStatus::kSupported) continue;
    if (!all && entries_[i].value == default_value(option)) continue;
    if (!group || *group != option.group) {
      out += fmt::format("{}# {}\n", out.empty() ? "" : "\n", group_title(option.group));
      group = &option.group;
    }
    std::string line = fmt::format("{}: {}", option.name, yaml_text(option, entries_[i].value));
    if (origins) line = fmt::format("{:<44} # {}", line, printable(entries_[i].origin.text, 200));
    out += line + '\n';
  }
  return out;
}

/// Layers the sources of a configuration over each other.
class ConfigReader {
 public:
  Config config;

  void read_file(const std::filesystem::path& path) {
    for (const RawEntry& item : read_config_file(path)) {
      const std::string where = item.line ? fmt::format("{}:{}", path.string(), item.line) : path.string();
      const Option& option = option_or_fail(item.key, where);
      Config::Entry& target = entry_of(option);
      if (target.origin.kind == OriginKind::kFile)
        fail_usage("{}: {} sets {}, which {} has set already", where, item.key, option.name,
                   target.origin.text);
      target.value = parse_option_value(option, item.value, where);
      target.origin = {OriginKind::kFile, where};
      note_spelling(option, item.key, where);
    }
  }

  void read_environment(const char* const* environment) {
    constexpr std::string_view kPrefix = "FETTLE_";
    for (; environment && *environment; ++environment) {
      const std::string_view variable = *environment;
      const size_t equals = variable.find('=');
      if (equals == variable.npos || !variable.starts_with(kPrefix)) continue;
      std::string key(variable.substr(kPrefix.size(), equals - kPrefix.size()));
      for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      // Other variables of this prefix (FETTLE_CPU …) are not options.
      const Option* option = find_option(key);
      if (!option || option->name != key) continue;
      config.set(key, variable.substr(equals + 1),
                 {OriginKind::kEnvironment, std::string(variable.substr(0, equals))});
    }
  }

  void read_overrides(const std::vector<ConfigArguments::Override>& overrides) {
    for (const auto& [key, value] : overrides) {
      config.set(key, value, {OriginKind::kCommandLine, "command line"});
      note_spelling(*find_option(key), key, "command line");
    }
  }

  /// Values that follow from others, then rules that concern several options.
  void finish() {
    derive();
    check();
    note_without_effect();
  }

 private:
  Config::Entry& entry_of(const Option& option) { return config.entries_[&option - all_options().data()]; }

  void derive_value(std::string_view name, OptionValue value, std::string why) {
    entry_of(*find_option(name)) = {std::move(value), {OriginKind::kDerived, std::move(why)}};
  }

  void derive() {
    if (!config.get<std::optional<double>>("lora_alpha"))
      derive_value("lora_alpha", 2.0 * config.get<int>("lora_rank"), "twice lora_rank");
    if (!config.get<std::optional<int64_t>>("data_seed"))
      derive_value("data_seed", config.get<int64_t>("seed"), "from seed");
    if (config.get<bool>("disable_gradient_checkpointing")) {
      if (config.is_set("gradient_checkpointing") &&
          config.get<std::string>("gradient_checkpointing") != "false")
        contradict("disable_gradient_checkpointing", "gradient_checkpointing");
      derive_value("gradient_checkpointing", std::string("false"), "from disable_gradient_checkpointing");
    }
  }

  std::string said(std::string_view name) const {
    return fmt::format("{}: {} ({})", name, config.value_text(name), config.origin(name).text);
  }
  [[noreturn]] void contradict(std::string_view one, std::string_view other) const {
    fail_usage("{} and {} contradict each other; drop one of them", said(one), said(other));
  }

  void check() const {
    if (config.get<bool>("bf16") && config.get<bool>("fp16")) contradict("bf16", "fp16");
    if (config.get<bool>("pure_bf16") && config.get<bool>("fp16")) contradict("pure_bf16", "fp16");
    if (config.get<bool>("bf16_full_eval") && config.get<bool>("fp16_full_eval"))
      contradict("bf16_full_eval", "fp16_full_eval");
    if (config.get<bool>("train_on_prompt") && config.get<bool>("mask_history"))
      contradict("train_on_prompt", "mask_history");
    const std::string method = config.get<std::string>("finetuning_type");
    if ((method == "full" || method == "freeze") && config.is_set("quantization_bit"))
      contradict("finetuning_type", "quantization_bit");
    if (method == "full") {
      // LLaMA-Factory refuses the same; a LoRA key that does nothing would be a silent mistake.
      if (!config.get<std::vector<std::string>>("adapter_name_or_path").empty())
        contradict("finetuning_type", "adapter_name_or_path");
      if (config.get<bool>("use_rslora")) contradict("finetuning_type", "use_rslora");
      if (config.get<bool>("create_new_adapter")) contradict("finetuning_type", "create_new_adapter");
    }
    check_output_folder("output_dir");
    check_output_folder("export_dir");
  }

  // Writing into the base model's folder or into "/" destroys what the run needs.
  void check_output_folder(std::string_view name) const {
    const std::string text = config.get<std::string>(name);
    if (text.empty()) return;
    const std::filesystem::path folder = real_folder(text);
    // Empty: a name that no file can have, which making it will tell.
    if (folder.empty()) return;
    if (folder == folder.root_path())
      fail_usage("{}: the root folder cannot be used; name a folder of its own", said(name));
    const std::string model = config.get<std::string>("model_name_or_path");
    if (!model.empty() && real_folder(model) == folder)
      fail_usage("{}: is the folder of the base model; name another one", said(name));
  }

  void note_spelling(const Option& option, std::string_view key, const std::string& where) {
    std::string written(key);
    std::replace(written.begin(), written.end(), '-', '_');
    if (written != option.name)
      config.notes_.push_back(fmt::format("{}: {} is read as {}", where, key, option.name));
  }

  void note_without_effect() {
    std::vector<std::string_view> names;
    for (size_t i = 0; i < config.entries_.size(); ++i) {
      const Option& option = option_at(i);
      if (option.status != OptionStatus::kNoEffect || config.entries_[i].value == default_value(option))
        continue;
      names.push_back(option.name);
    }
    const std::string method = config.get<std::string>("finetuning_type");
    std::vector<std::string_view> unread;
    for (size_t i = 0; i < config.entries_.size(); ++i) {
      const Option& option = option_at(i);
      const auto& methods = option.methods;
      if (config.is_set(option.name) && !methods.empty() &&
          std::find(methods.begin(), methods.end(), method) == methods.end())
        unread.push_back(option.name);
    }
    if (!unread.empty())
      config.notes_.push_back(
          fmt::format("not read with finetuning_type {}: {}", method, fmt::join(unread, ", ")));
    if (!names.empty())
      config.notes_.push_back(
          fmt::format("without effect here: {} (why: `fettle config explain KEY`)", fmt::join(names, ", ")));
  }
};

Config load_config(const ConfigArguments& arguments, const char* const* environment) {
  ConfigReader reader;
  if (arguments.file) reader.read_file(*arguments.file);
  reader.read_environment(environment);
  reader.read_overrides(arguments.overrides);
  reader.finish();
  return std::move(reader.config);
}

Config load_config(const ConfigArguments& arguments) {
  return load_config(arguments, environ);
}

}  // namespace fettle
