// Puts special tokens around a text or a pair of texts: the "post_processor" of a tokenizer.json.
#pragma once
#include <string>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

class PostProcessor {
 public:
  /// TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (nothing) and Sequences of these. Null
  /// json: nothing. Error(kBadInput) for a special token that the component itself does not define.
  static PostProcessor make(const Json& json, const std::string& origin);
  /// The frame of Llama's tokenizer classes: bos before and eos behind each text where given.
  static PostProcessor frame(std::optional<TokenId> bos, std::optional<TokenId> eos);

  Encoding single(std::vector<TokenId> ids) const;
  Encoding pair(std::vector<TokenId> first, std::vector<TokenId> second) const;
  /// How many special tokens single() and pair() add.
  size_t single_extra() const { return extra(single_); }
  size_t pair_extra() const { return extra(pair_); }

 private:
  struct Part {
    enum class Kind { kSpecial, kFirst, kSecond } kind;
    int32_t type_id;
    std::vector<TokenId> ids;  ///< of kSpecial
  };
  static std::vector<Part> read_template(const Json& json, const char* key, const std::string& origin);
  static size_t extra(const std::vector<Part>& parts);
  Encoding build(const std::vector<Part>& parts, const std::vector<TokenId>& first,
                 const std::vector<TokenId>& second) const;

  std::vector<Part> single_ = {{Part::Kind::kFirst, 0, {}}};
  std::vector<Part> pair_ = {{Part::Kind::kFirst, 0, {}}, {Part::Kind::kSecond, 1, {}}};
  bool frames_ = false;
};

}  // namespace fettle
