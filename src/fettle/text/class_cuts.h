// Several Splits by character classes in a row, done together.
#pragma once
#include <vector>

#include "fettle/text/matcher.h"
#include "fettle/text/pre_tokenizer.h"

namespace fettle {

/// Cuts a text at the matches of the first pattern, every piece of that (matches too) at those of the second,
/// and so on, as Splits with the behaviour Isolated. The text is read once; patterns without a character in
/// it are passed over.
class ClassCuts final : public PreTokenizer::Stage {
 public:
  static constexpr size_t kMostPatterns = 7;  ///< two bits each of a character's mask
  explicit ClassCuts(const std::vector<const ClassPattern*>& patterns);
  void cut(std::string_view text, bool first, PreTokenizer::Sink sink) const override;

 private:
  using Mask = uint16_t;
  static constexpr Mask kNewline = 1 << 15;
  struct Pattern {
    Mask set = 0, lead = 0;
    size_t most = 1;
    bool at_line_end = false;
  };
  struct Character {
    uint32_t begin;
    Mask mask;
  };
  struct Text;
  void cut_piece(const Text& text, size_t pattern, size_t from, size_t to) const;
  std::vector<Mask> masks_;  ///< by code point
  std::vector<Pattern> patterns_;
};

}  // namespace fettle
