// Showing an example as it will be trained.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/data/dataset.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// The decoded text with the learned parts in green, or between ⟦ ⟧ without colour, and a line of counts; ids
/// when there is no tokenizer. Long examples are cut in the middle.
std::string preview_example(const Example& example, const Tokenizer* tokenizer, bool color);

/// `text` for a terminal: control characters other than line ends and tabs become \x1b and the like.
std::string visible_text(std::string_view text);

/// What cutoff_len took: how much, and where the first cut is. Empty when nothing was.
std::string cut_text(const InspectedRow& row, const Tokenizer* tokenizer);

struct TokenRange {
  int64_t first = 0, count = 200;
};
/// A table of the tokens in `ranges`, which ascend: position, id, text with control characters escaped, and
/// whether the token is learned. A line "…" stands for what lies between two ranges.
std::string token_table(const Example& example, const Tokenizer* tokenizer,
                        const std::vector<TokenRange>& ranges = {{}}, int columns = 0);

}  // namespace fettle
