// How tools are described to a model and how it writes its calls, in the formats of LLaMA-Factory.
#pragma once
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// JSON text as Python's json.dumps(ensure_ascii=False) writes it; `indent` 0 is one line.
std::string python_json(const OrderedJson& json, int indent = 0);

/// Names of the tool formats.
std::vector<std::string> tool_format_names();

/// The part of the system prompt that describes `tools`, a JSON list; empty for an empty list. `now` is the
/// date that some formats write. Error(kBadInput) when a tool lacks what the format needs.
std::string describe_tools(std::string_view format, std::string_view tools, const std::tm& now);

/// The text of function calls: `calls` is a JSON {"name","arguments"} or a list of those.
std::string write_calls(std::string_view format, std::string_view calls);

}  // namespace fettle
