// A tokenizer of bytes and templates that need no model.
#pragma once
#include <string>

#include "fettle/text/chat.h"

namespace fettle::test {

/// A byte b is the id b + 10; 1 is bos, 2 is eos.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::vector<std::filesystem::path> files = {}) : files_(std::move(files)) {}
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (char c : text) ids.push_back(static_cast<unsigned char>(c) + 10);
    return ids;
  }
  std::vector<TokenId> encode_literally(std::string_view text, size_t, size_t) const override {
    return encode(text, false);
  }
  Encoding encode_with_types(std::string_view text, std::optional<std::string_view> pair, bool,
                             std::optional<int64_t>) const override {
    Encoding out{encode(text, false), {}, {}};
    out.type_ids.assign(out.ids.size(), 0);
    if (pair)
      for (TokenId id : encode(*pair, false)) {
        out.ids.push_back(id);
        out.type_ids.push_back(1);
      }
    out.special_tokens_mask.assign(out.ids.size(), 0);
    return out;
  }
  std::string decode(std::span<const TokenId> ids, bool skip) const override {
    std::string text;
    for (TokenId id : ids) {
      if (id >= 10)
        text += static_cast<char>(id - 10);
      else if (!skip)
        text += id_to_token(id);
    }
    return text;
  }
  int64_t vocab_size() const override { return 266; }
  std::optional<TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(TokenId id) const override {
    return id == 1 ? "<s>" : id == 2 ? "</s>" : decode({&id, 1}, true);
  }
  bool is_special(TokenId id) const override { return id < 10; }
  std::optional<TokenId> bos_id() const override { return 1; }
  std::optional<TokenId> eos_id() const override { return 2; }
  std::optional<TokenId> pad_id() const override { return std::nullopt; }
  std::optional<TokenId> unk_id() const override { return std::nullopt; }
  std::string chat_template(std::string_view) const override { return ""; }
  std::vector<std::filesystem::path> files() const override { return files_; }

 private:
  std::vector<std::filesystem::path> files_;
};

/// "[system]user>" read, "answer" and eos learned.
class PlainTemplate : public ChatTemplate {
 public:
  const std::string& name() const override { return name_; }
  std::vector<EncodedTurn> encode_turns(const Conversation& c) const override {
    ByteTokenizer bytes;
    std::vector<EncodedTurn> turns;
    for (size_t i = 0; i + 1 < c.messages.size(); i += 2) {
      std::string system = i == 0 && !c.system.empty() ? "[" + c.system + "]" : "";
      EncodedTurn turn{bytes.encode(system + c.messages[i].content + ">", false),
                       bytes.encode(c.messages[i + 1].content, false), c.messages[i + 1].trained};
      turn.target.push_back(2);
      turns.push_back(std::move(turn));
    }
    return turns;
  }
  std::vector<TokenId> encode_prompt(const Conversation&) const override { return {}; }
  std::vector<TokenId> stop_ids() const override { return {2}; }

 private:
  std::string name_ = "plain";
};

/// Gives the pairs it was made with.
class PairTemplate : public PlainTemplate {
 public:
  PairTemplate(std::vector<EncodedTurn> turns, bool efficient)
      : turns_(std::move(turns)), efficient_(efficient) {}
  std::vector<EncodedTurn> encode_turns(const Conversation&) const override { return turns_; }
  bool efficient_eos() const override { return efficient_; }

 private:
  std::vector<EncodedTurn> turns_;
  bool efficient_;
};

}  // namespace fettle::test
