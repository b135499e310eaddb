#define PCRE2_CODE_UNIT_WIDTH 8
#include "fettle/text/regex.h"

#include <pcre2.h>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// One match block and JIT stack for each thread.
struct Workspace {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(64 << 10, 8 << 20, nullptr);
  Workspace() {
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, 50'000'000);
  }
  ~Workspace() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

// PCRE2 counts U+180E as white space, Oniguruma does not. Outside of brackets \s becomes a class of its own.
std::string with_unicode_spaces(const std::string& pattern) {
  static constexpr std::string_view kSpaces =
      R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
  std::string out;
  bool bracket = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      char escaped = pattern[++i];
      if (escaped == 's')
        out.append(bracket ? "" : "[").append(kSpaces).append(bracket ? "" : "]");
      else if (escaped == 'S' && !bracket)
        out.append("[^").append(kSpaces).append("]");
      else
        out.append({'\\', escaped});
      continue;
    }
    if (pattern[i] == '[') bracket = true;
    if (pattern[i] == ']') bracket = false;
    out += pattern[i];
  }
  return out;
}

}  // namespace

Regex::Regex(const std::string& pattern, const std::string& origin) : pattern_(pattern), origin_(origin) {
  if (pattern.size() > 16384)
    fail_input("{}: regex of {} bytes, at most 16384 are accepted", origin, pattern.size());
  // In Oniguruma ^ and $ stand at every line.
  std::string translated = with_unicode_spaces(pattern);
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                       PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                       &code, &offset, nullptr);
  if (!compiled) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(code, message, sizeof message);
    fail_input("{}: regex \"{}\" is not supported (at offset {}: {})", origin, printable(pattern), offset,
               reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  code_ =
      std::shared_ptr<void>(compiled, [](void* freed) { pcre2_code_free(static_cast<pcre2_code*>(freed)); });
}

bool Regex::find(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  thread_local Workspace workspace;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                           PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, workspace.match, workspace.context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0)
    fail_input("{}: regex \"{}\" takes too many steps on a text of {} bytes", origin_, printable(pattern_),
               text.size());
  PCRE2_SIZE* ends = pcre2_get_ovector_pointer(workspace.match);
  begin = ends[0];
  end = ends[1];
  return true;
}

}  // namespace fettle
