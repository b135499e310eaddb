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

}  // namespace

Regex::Regex(const std::string& pattern, const std::string& origin) : pattern_(pattern), origin_(origin) {
  if (pattern.size() > 16384)
    fail_input("{}: regex of {} bytes, at most 16384 are accepted", origin, pattern.size());
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
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

Regex Regex::literal(const std::string& text, const std::string& origin) {
  std::string pattern;
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) pattern += '\\';
    pattern += c;
  }
  return Regex(pattern, origin);
}

void Regex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const {
  thread_local Workspace workspace;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  for (size_t at = 0; at < text.size();) {
    int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                             PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, workspace.match, workspace.context);
    if (result == PCRE2_ERROR_NOMATCH) return;
    if (result < 0)
      fail_input("{}: regex \"{}\" takes too many steps on a text of {} bytes", origin_, printable(pattern_),
                 text.size());
    PCRE2_SIZE* ends = pcre2_get_ovector_pointer(workspace.match);
    found(ends[0], ends[1]);
    at = ends[1];
  }
}

}  // namespace fettle
