// Fields of the components of a tokenizer.json: {"type": …, …}.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// The "type" of a component; Error(kBadInput) naming the stage when there is none.
std::string type_of(const Json& json, const std::string& origin, const char* stage);
std::string text_field(const Json& json, const char* key, const std::string& origin);
/// Error(kBadInput) when the key holds anything but true, false or null.
bool flag_field(const Json& json, const char* key, bool fallback, const std::string& origin);
const Json& list_field(const Json& json, const char* key, const std::string& origin);
/// A count from 0 to 2^31-1.
int64_t count_field(const Json& json, const char* key, int64_t fallback, const std::string& origin);
/// Metaspace's prepend_scheme, also in its old spelling as add_prefix_space.
std::string prepend_scheme(const Json& json, const std::string& origin);
/// A token id from 0 to 2^28.
TokenId id_value(const Json& value, const std::string& what, const std::string& origin);

}  // namespace fettle
