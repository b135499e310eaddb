// Which modules a method applies to: PEFT's target_modules rules.
#pragma once
#include <string>
#include <vector>

#include "fettle/models/causal_lm.h"

namespace fettle {

/// target_modules, exclude_modules and the layer filters of an adapter_config.json.
struct TargetSpec {
  std::vector<std::string> modules;  ///< exact paths or suffixes
  std::string pattern;  ///< a regex for the whole path (re.fullmatch), or "all-linear"; instead of modules
  std::vector<std::string> exclude_modules;
  std::string exclude_pattern;
  std::vector<int64_t> layers_to_transform;
  std::vector<std::string> layers_pattern;
  bool require_all = true;  ///< every item of `modules` must match something
  bool all_linear() const;  ///< the pattern is "all-linear", in any case
};

/// Whether the spec selects the module at `path`, by the rules of PEFT's check_target_module_exists
/// (peft/tuners/tuners_utils.py).
bool targets_module(const TargetSpec& spec, const std::string& path, bool is_head);

/// The linears that the spec selects, in model order. `others`: paths of further modules that the method
/// takes. Error(kUsage) listing the suffixes that exist when nothing or an unknown suffix is named.
std::vector<Linear*> select_targets(CausalLM& model, const TargetSpec& spec,
                                    const std::vector<std::string>& others = {});

/// PEFT's default targets for a model_type (peft/utils/constants.py); empty when there is none.
std::vector<std::string> default_targets(const std::string& model_type);
/// PEFT's defaults of IA3 (all targets, and those whose input is scaled) and of LN tuning.
struct Ia3Targets {
  std::vector<std::string> modules, feedforward;
};
Ia3Targets default_ia3_targets(const std::string& model_type);
std::vector<std::string> default_norm_targets(const std::string& model_type);
/// Last path components of every linear but the head, sorted: what LLaMA-Factory's `lora_target: all` stands
/// for.
std::vector<std::string> all_linear_suffixes(CausalLM& model);

/// Python's re.fullmatch(pattern, text), and re.match("(.*\.)?(key)$", path) as rank_pattern uses it, through
/// PCRE2 with a match limit. A pattern that does not compile: Error(kUsage).
bool regex_fullmatch(const std::string& pattern, const std::string& text);
bool matches_pattern_key(const std::string& key, const std::string& path);

}  // namespace fettle
