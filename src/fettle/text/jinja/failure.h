// The error inside the interpreter; it becomes a fettle::Error with line and column at the border.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace fettle::jinja {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fettle::jinja
