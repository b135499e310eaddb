// Chat templates: the Jinja language as Transformers runs it (sandboxed and immutable, trim_blocks,
// lstrip_blocks, loop controls, `{% generation %}`), with no way from a template to the host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/text/jinja/value.h"

namespace fettle::jinja {

/// Bounds on one rendering; passing one is an Error(kBadInput).
struct Limits {
  uint64_t max_steps = 10'000'000;        ///< evaluated nodes and handled items
  uint32_t max_call_depth = 200;          ///< macros calling macros, recursive loops
  size_t max_output = size_t{16} << 20;   ///< bytes of the result and of every text made on the way
  size_t max_memory = size_t{512} << 20;  ///< bytes made on the way, all together
};

struct RenderOptions {
  Limits limits;
  /// The time that strftime_now sees; local time when empty.
  std::function<std::tm()> clock;
};

/// Where a `{% generation %}` block wrote, half-open, in bytes and in characters (code points).
struct GenerationSpan {
  size_t begin_byte = 0, end_byte = 0;
  size_t begin_char = 0, end_char = 0;
};

struct Rendered {
  std::string text;
  std::vector<GenerationSpan> generation;  ///< in the order in which the blocks ended
};

/// A parsed template; rendering is const and may run on several threads at once.
class Template {
 public:
  /// Error(kBadInput) "origin:line:column: …" when `source` is not a template or is above 4 MiB.
  explicit Template(std::string_view source, std::string origin = "chat template");
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// Renders with the variables of `context`, a dict. Error(kBadInput) with line and column; the text given
  /// to `raise_exception` stands in the message.
  Rendered render(const Value& context, const RenderOptions& options = {}) const;
  /// True when the template marks the assistant's text by `{% generation %}`.
  bool has_generation() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fettle::jinja
