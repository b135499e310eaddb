// Character classes of regular expressions as bit sets.
#pragma once
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
  bool contains(uint32_t code) const { return bits_[code >> 6] >> (code & 63) & 1; }

 private:
  CharacterSet() : bits_(0x110000 / 64, 0) {}
  void add(uint32_t first, uint32_t last);
  bool add_class(std::string_view name, bool negated);
  bool add_escape(std::string_view& pattern, std::optional<uint32_t>& literal);
  void invert();
  std::vector<uint64_t> bits_;
};

}  // namespace fettle
