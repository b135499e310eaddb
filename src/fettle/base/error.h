// Errors that reach the user. A message names the file, the key or line, what was found, what was expected
// and what to do; the code becomes the exit status of the program.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// Exit codes of the program (0 is success).
enum class ExitCode : int {
  kUsage = 2,        ///< command line or configuration
  kBadInput = 3,     ///< a file that cannot be used
  kResources = 4,    ///< disk, memory, device
  kDiverged = 5,     ///< NaN or Inf in training
  kPeerFailure = 6,  ///< another rank died
  kInternal = 70,    ///< a defect in Fettle itself
  kResumable = 75,   ///< stopped on request, state saved
};

/// The one exception type of Fettle.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

template <typename... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::kUsage, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void fail_input(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void fail_resources(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::kResources, fmt::format(format, std::forward<Args>(args)...));
}

/// A condition that only a defect in Fettle can break.
#define FETTLE_CHECK(condition, ...)                                                                 \
  do {                                                                                               \
    if (!(condition))                                                                                \
      throw ::fettle::Error(                                                                         \
          ::fettle::ExitCode::kInternal,                                                             \
          fmt::format("internal check failed at {}:{}: {}: ", __FILE_NAME__, __LINE__, #condition) + \
              fmt::format(__VA_ARGS__));                                                             \
  } while (false)

/// `text` shortened to `limit` bytes, with control characters, marks of direction and bytes that are no UTF-8
/// escaped, for use in messages about outside data.
std::string printable(std::string_view text, size_t limit = 120);

/// The candidate nearest to `word` by edit distance, or "" when none is near (for "did you mean").
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace fettle
