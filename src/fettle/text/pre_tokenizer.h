// Cuts a text into words: the "pre_tokenizer" of a tokenizer.json.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/function_ref.h"
#include "fettle/base/json.h"

namespace fettle {

class PreTokenizer {
 public:
  /// What takes a piece; `first` says that the text began with it.
  using Sink = FunctionRef<void(std::string_view piece, bool first)>;
  class Stage {
   public:
    virtual ~Stage() = default;
    virtual void cut(std::string_view text, bool first, Sink sink) const = 0;
  };

  /// Components: Sequence, ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation,
  /// BertPreTokenizer, CharDelimiterSplit, UnicodeScripts is refused. The byte-level spelling itself is the
  /// model's matter: words stay UTF-8. Null json: the text is one word.
  static PreTokenizer make(const Json& json, const std::string& origin);

  /// Calls sink(word, first) for every non-empty word from left to right. Views live during the call.
  void cut(std::string_view text, bool first, Sink sink) const { cut_from(0, text, first, sink); }

 private:
  void cut_from(size_t stage, std::string_view text, bool first, Sink sink) const;
  std::vector<std::shared_ptr<const Stage>> stages_;
};

/// Whether a ByteLevel component stands anywhere in a pre-tokenizer (or decoder).
bool uses_byte_level(const Json& json);

}  // namespace fettle
