// The options of one run: read from a file, the environment and the command line, checked against the schema.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fettle/base/config/options.h"
#include "fettle/base/json.h"

namespace fettle {

/// Null, or what the option's type holds: kInt int64_t; kFloat and kIntOrFraction double; kString and kChoice
/// string; kList vector; kObject its JSON text as string.
using OptionValue =
    std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>>;

/// Who set a value; a later one overrides an earlier one.
enum class OriginKind { kDefault, kFile, kEnvironment, kCommandLine, kDerived };

struct Origin {
  OriginKind kind = OriginKind::kDefault;
  std::string text = "default";  ///< "run.yaml:12", "FETTLE_SEED", "command line", "from lora_rank"
};

/// Checked values of all options.
class Config {
 public:
  /// All defaults.
  Config();

  /// T: bool, int, int64_t, double, std::string, std::vector<std::string>, or std::optional of one for
  /// options whose default is null. Asking for a name outside the schema, another type, or an unset value
  /// without std::optional is a defect (Error(kInternal)).
  template <typename T>
  T get(std::string_view name) const;
  /// A kObject option; null when unset.
  Json object(std::string_view name) const;
  const OptionValue& value(std::string_view name) const;
  const Origin& origin(std::string_view name) const;
  /// Given by file, environment or command line (not default, not derived).
  bool is_set(std::string_view name) const;
  /// The value as it would stand in YAML on one line.
  std::string value_text(std::string_view name) const;

  /// Error(kUsage) when `name` is null or empty; `who` ("fettle train") and the help of the option tell what
  /// is missing.
  void require(std::string_view name, std::string_view who) const;
  /// Steps that a kIntOrFraction option means: values below 1 are a fraction of `total`, rounded up.
  int64_t steps(std::string_view name, int64_t total) const;

  /// Sets one value from text, as `key=value` on the command line does. Error(kUsage) names key, value and
  /// range.
  void set(std::string_view name, std::string_view text, const Origin& origin);
  /// Lines worth telling the user: old spellings, keys without effect.
  const std::vector<std::string>& notes() const { return notes_; }

  /// YAML of the values that differ from the defaults, or of all supported options, in schema order, grouped,
  /// reading back to the same Config. With `origins` each line ends in a comment that says where the value
  /// came from.
  std::string to_yaml(bool all, bool origins = false) const;

 private:
  friend class ConfigReader;
  struct Entry {
    OptionValue value;
    Origin origin;
  };
  const Entry& entry(std::string_view name) const;
  std::vector<Entry> entries_;  // index = position in all_options()
  std::vector<std::string> notes_;
};

/// What a command line says about options: words `key=value`, `--key value`, `--key=value`, `--flag`, `--set
/// key=value` and one configuration file.
struct ConfigArguments {
  std::optional<std::filesystem::path> file;
  struct Override {
    std::string key, value;
  };
  std::vector<Override> overrides;
};

/// Sorts words into file and overrides. Error(kUsage) on a second file or a dangling key.
ConfigArguments parse_config_arguments(const std::vector<std::string>& words);

/// Defaults < file < environment (FETTLE_<KEY>) < overrides, then values that follow from others
/// (lora_alpha, data_seed, gradient_checkpointing), then the checks across options. Every error is
/// Error(kUsage) and names file and line, variable, or word. `environment` is `environ`-like ("NAME=value" …,
/// ended by nullptr); nullptr reads none.
Config load_config(const ConfigArguments& arguments, const char* const* environment);
/// With the environment of this process.
Config load_config(const ConfigArguments& arguments);

}  // namespace fettle
