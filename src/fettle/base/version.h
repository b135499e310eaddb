#pragma once
#include <string_view>

namespace fettle {

/// The version of project() in CMakeLists.txt; a test keeps them equal.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace fettle
