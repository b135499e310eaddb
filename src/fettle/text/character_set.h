// Character classes of regular expressions as bit sets.
#pragma once
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace fettle {

class CharacterSet {
 public:
  /// Reads one class from the front of `pattern` and moves behind it: a literal character, an escape (\n, \s,
  /// \p{L} …) or a bracket with ranges and ^. Nothing (and `pattern` as it was) for what it does not know.
  static std::optional<CharacterSet> parse(std::string_view& pattern);
  /// The characters that belong to one of the classes in `mask` (CharacterClass).
  static CharacterSet of_classes(uint16_t mask);
  bool contains(uint32_t code) const { return bits_[code >> 6] >> (code & 63) & 1; }

  /// Calls each(code) for every character.
  template <typename Each>
  void for_each(Each each) const {
    for (uint32_t word = 0; word < bits_.size(); ++word)
      for (uint64_t bits = bits_[word]; bits != 0; bits &= bits - 1)
        each(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
  }
  bool operator==(const CharacterSet&) const = default;

 private:
  CharacterSet() : bits_(0x110000 / 64, 0) {}
  void add(uint32_t first, uint32_t last);
  bool add_class(std::string_view name, bool negated);
  bool add_escape(std::string_view& pattern, std::optional<uint32_t>& literal);
  void invert();
  std::vector<uint64_t> bits_;
};

}  // namespace fettle
