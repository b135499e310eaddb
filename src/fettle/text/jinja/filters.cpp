#include "fettle/text/jinja/filters.h"

#include <algorithm>

namespace fettle::jinja {

FilterFunction find_filter(std::string_view name) {
  for (std::span<const Filter> filters : {text_filters(), item_filters()}) {
    auto it =
        std::lower_bound(filters.begin(), filters.end(), name,
                         [](const Filter& filter, std::string_view wanted) { return filter.name < wanted; });
    if (it != filters.end() && it->name == name) return it->function;
  }
  return nullptr;
}

}  // namespace fettle::jinja
