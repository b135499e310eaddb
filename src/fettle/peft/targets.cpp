#define PCRE2_CODE_UNIT_WIDTH 8
#include "fettle/peft/targets.h"

#include <pcre2.h>

#include <set>

#include "fettle/base/error.h"

namespace fettle {
namespace {

std::string last_component(const std::string& path) {
  size_t dot = path.rfind('.');
  return dot == path.npos ? path : path.substr(dot + 1);
}

bool is_suffix(const std::string& path, const std::string& item) {
  return path == item ||
         (path.size() > item.size() && path.ends_with(item) && path[path.size() - item.size() - 1] == '.');
}

// group(1) of ".*?\.[^.]*\.(\d+)\." or ".*?\.P\.(\d+)\.": the first all-digit component that another one
// follows.
bool layer_selected(const std::string& path, const TargetSpec& spec) {
  if (spec.layers_to_transform.empty()) return true;
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('.', begin), path.size());
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  for (size_t i = 2; i + 1 < parts.size(); ++i) {
    if (parts[i].empty() || parts[i].size() > 9 ||
        parts[i].find_first_not_of("0123456789") != std::string::npos)
      continue;
    bool named = spec.layers_pattern.empty();
    for (const std::string& pattern : spec.layers_pattern) named = named || parts[i - 1] == pattern;
    if (!named) continue;
    int64_t index = std::stoll(parts[i]);
    for (int64_t wanted : spec.layers_to_transform)
      if (wanted == index) return true;
    return false;
  }
  return false;
}

}  // namespace

bool regex_fullmatch(const std::string& pattern, const std::string& text) {
  if (pattern.size() > 10000)
    fail_usage("target_modules: regex of {} bytes, at most 10000 are accepted", pattern.size());
  int code = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> regex(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &offset, nullptr),
      pcre2_code_free);
  if (!regex) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(code, message, sizeof message);
    fail_usage("target_modules: regex \"{}\" is invalid at offset {}: {}", printable(pattern), offset,
               reinterpret_cast<const char*>(message));
  }
  std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> limits(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(limits.get(), 100000);
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(regex.get(), nullptr), pcre2_match_data_free);
  int result = pcre2_match(regex.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                           match.get(), limits.get());
  if (result == PCRE2_ERROR_MATCHLIMIT)
    fail_usage("target_modules: regex \"{}\" takes too many steps on \"{}\"", printable(pattern),
               printable(text));
  return result >= 0;
}

bool matches_pattern_key(const std::string& key, const std::string& path) {
  return regex_fullmatch("(?:.*\\.)?(?:" + key + ")", path);
}

std::vector<std::string> default_targets(const std::string& model_type) {
  static const std::set<std::string> kQueryValue = {"llama", "mistral", "mixtral", "qwen2",
                                                    "qwen3", "gemma",   "gemma2",  "gemma3_text"};
  if (kQueryValue.contains(model_type)) return {"q_proj", "v_proj"};
  if (model_type == "gpt2") return {"c_attn"};
  return {};
}

Ia3Targets default_ia3_targets(const std::string& model_type) {
  static const std::set<std::string> kLlamaLike = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"};
  if (kLlamaLike.contains(model_type)) return {{"k_proj", "v_proj", "down_proj"}, {"down_proj"}};
  if (model_type == "gpt2") return {{"c_attn", "mlp.c_proj"}, {"mlp.c_proj"}};
  return {};
}

std::vector<std::string> default_norm_targets(const std::string& model_type) {
  static const std::set<std::string> kLlamaLike = {"llama", "mistral", "qwen2", "qwen3"};
  if (kLlamaLike.contains(model_type)) return {"input_layernorm", "post_attention_layernorm", "norm"};
  if (model_type == "gpt2") return {"ln_1", "ln_2", "ln_f"};
  return {};
}

std::vector<std::string> all_linear_suffixes(CausalLM& model) {
  std::set<std::string> names;
  for (const Linear* linear : model.linears())
    if (linear != &model.head()) names.insert(last_component(linear->path));
  return {names.begin(), names.end()};
}

bool targets_module(const TargetSpec& spec, const std::string& path, bool is_head) {
  if (!spec.exclude_pattern.empty() && regex_fullmatch(spec.exclude_pattern, path)) return false;
  for (const std::string& item : spec.exclude_modules)
    if (is_suffix(path, item)) return false;
  if (spec.all_linear()) return !is_head;
  if (!spec.pattern.empty()) return regex_fullmatch(spec.pattern, path);
  for (const std::string& item : spec.modules)
    if (is_suffix(path, item)) return layer_selected(path, spec);
  return false;
}

bool TargetSpec::all_linear() const {
  std::string lowered = pattern;
  for (char& c : lowered) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lowered == "all-linear";
}

std::vector<Linear*> select_targets(CausalLM& model, const TargetSpec& spec,
                                    const std::vector<std::string>& others) {
  std::vector<Linear*> selected;
  for (Linear* linear : model.linears())
    if (targets_module(spec, linear->path, linear == &model.head())) selected.push_back(linear);
  bool any = !selected.empty();
  std::set<std::string> suffixes;
  for (const Linear* linear : model.linears()) suffixes.insert(last_component(linear->path));
  for (const std::string& path : others) {
    suffixes.insert(last_component(path));
    any = any || targets_module(spec, path, false);
  }
  std::vector<std::string> known(suffixes.begin(), suffixes.end());
  if (!any)
    fail_usage("no module of {} matches target_modules {}; its modules are {}", model.config().architecture,
               spec.pattern.empty() ? fmt::format("[{}]", fmt::join(spec.modules, ", "))
                                    : "\"" + spec.pattern + "\"",
               fmt::join(known, ", "));
  if (!spec.require_all || !spec.exclude_modules.empty()) return selected;
  for (const std::string& item : spec.modules) {
    bool used = false;
    for (const Linear* linear : model.linears()) used = used || is_suffix(linear->path, item);
    for (const std::string& path : others) used = used || is_suffix(path, item);
    if (used) continue;
    std::string near = nearest(item, known);
    fail_usage("target module \"{}\" does not exist in {}{}; its modules are {}", printable(item),
               model.config().architecture, near.empty() ? "" : " (did you mean \"" + near + "\"?)",
               fmt::join(known, ", "));
  }
  return selected;
}

}  // namespace fettle
