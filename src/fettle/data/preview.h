// Showing an example as it will be trained.
#pragma once
#include <string>

#include "fettle/data/batch.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// The decoded text with the learned parts in green, or between ⟦ ⟧ without colour, and a line of counts; ids
/// when there is no tokenizer. Long examples are cut in the middle.
std::string preview_example(const Example& example, const Tokenizer* tokenizer, bool color);

}  // namespace fettle
