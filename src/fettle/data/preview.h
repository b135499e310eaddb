// Showing an example as it will be trained.
#pragma once
#include <cstdint>
#include <string>

#include "fettle/data/batch.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// The decoded text with the learned parts in green, or between ⟦ ⟧ without colour, and a line of counts; ids
/// when there is no tokenizer. Long examples are cut in the middle.
std::string preview_example(const Example& example, const Tokenizer* tokenizer, bool color);

/// A table of up to `count` tokens from position `first` on: position, id, text with control characters
/// escaped, and whether the token is learned.
std::string token_table(const Example& example, const Tokenizer* tokenizer, int64_t first = 0,
                        int64_t count = 200, int columns = 0);

}  // namespace fettle
