// The named templates of LLaMA-Factory as data: what stands around each kind of turn.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// A piece of a turn that is tokenised alone.
struct Slot {
  enum class Kind { kText, kToken, kBos, kEos } kind = Kind::kText;
  std::string text;  ///< with {{content}} where the message goes; the token for kToken

  Slot(const char* text) : text(text) {}
  Slot(Kind kind, const char* text = "") : kind(kind), text(text) {}
};
using Slots = std::vector<Slot>;

struct TemplateSpec {
  std::string name;
  Slots prefix;
  Slots system{"{{content}}"};
  Slots user{"{{content}}"};  ///< with the generation prompt
  Slots assistant;            ///< empty: content and eos (content alone under efficient_eos)
  Slots function;             ///< empty: as assistant
  Slots observation;          ///< empty: as user
  std::string tool_format = "default";
  std::string tool_slot;  ///< not empty: tools stand there as they were given, in no format
  std::string default_system;
  std::vector<std::string> stop_words;
  std::string thought_begin = "<think>\n", thought_end = "\n</think>\n\n";
  bool efficient_eos = false;
  bool replace_eos = false;     ///< the first stop word is the eos
  bool reasoning = false;       ///< answers may begin with a thought
  bool system_in_user = false;  ///< the system text joins the first user message
};

/// All templates, sorted by name.
const std::vector<TemplateSpec>& template_table();
/// Null when there is none of that name.
const TemplateSpec* find_template(std::string_view name);

}  // namespace fettle
