// Rewrites a text before it is cut: the "normalizer" of a tokenizer.json.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "fettle/base/json.h"

namespace fettle {

class Normalizer {
 public:
  /// Components: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace,
  /// BertNormalizer, Precompiled, Nmt, ByteLevel. Null json: the identity. Error(kBadInput) naming an unknown
  /// component.
  static Normalizer make(const Json& json, const std::string& origin);

  /// The rewritten text: `text` itself where nothing changes, else a view of `buffer`. Text that grows beyond
  /// 16 times its length and 64 MiB: Error(kBadInput).
  std::string_view apply(std::string_view text, std::string& buffer) const;

 private:
  std::function<bool(std::string_view)> leaves_;  ///< cheap test that nothing changes; may be empty
  std::function<void(std::string_view, std::string&)> rewrite_;  ///< empty: the identity
};

}  // namespace fettle
