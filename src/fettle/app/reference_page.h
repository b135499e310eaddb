// docs/reference/options.md, made from the schema.
#pragma once
#include <string>

namespace fettle::app {

std::string options_page();

}  // namespace fettle::app
