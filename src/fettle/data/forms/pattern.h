// A user's own prompt pattern: "Question: {Question}\n### Answer:\n{Response}".
#pragma once
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// A text with {field} places, as Python's str.format reads it ({{ and }} are braces).
class PromptPattern {
 public:
  /// `trained_from`: what stands before its first occurrence in the pattern is read and not learned; empty:
  /// all is learned. Error(kUsage) naming what is wrong with the pattern.
  PromptPattern(const std::string& pattern, const std::string& trained_from);
  struct Filled {
    std::string read, learned;
  };
  /// The pattern as it was given, with `trained_from` behind it.
  const std::string& text() const { return text_; }
  /// Throws BadRow when the row lacks a field.
  Filled fill(const OrderedJson& row) const;

 private:
  struct Part {
    bool field;
    std::string text;
  };
  std::string text_;
  std::vector<Part> read_, learned_;
};

}  // namespace fettle
