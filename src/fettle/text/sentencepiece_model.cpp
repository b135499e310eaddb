#include "fettle/text/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/text/charsmap.h"
#include "fettle/text/utf8.h"
#include "fettle/text/vocabulary_files.h"

namespace fettle {
namespace {

constexpr size_t kMostPieces = 10'000'000;
constexpr int kMostGroups = 64;  ///< nesting of (obsolete) groups

/// Fields of one message of a protocol buffer, in order.
class Message {
 public:
  Message(std::string_view bytes, size_t offset, const std::string& origin)
      : bytes_(bytes), offset_(offset), origin_(origin) {}

  uint32_t number = 0;       ///< of the current field
  uint64_t value = 0;        ///< of a varint, or the bits of a fixed number
  std::string_view content;  ///< of a text or message
  size_t content_offset = 0;

  bool next() {
    if (at_ >= bytes_.size()) return false;
    size_t start = at_;
    uint64_t tag = varint();
    number = static_cast<uint32_t>(tag >> 3);
    if (number == 0 || tag >> 3 > 0x1FFFFFFF) fail(start, "a field has an impossible number");
    kind_ = static_cast<int>(tag & 7);
    content = {};
    read_value(start, 0);
    return true;
  }
  std::string_view text() const {
    require(2, "a text");
    return content;
  }
  Message message() const {
    require(2, "a message");
    return Message(content, content_offset, origin_);
  }
  uint64_t integer() const {
    require(0, "a number");
    return value;
  }
  float real() const {
    require(5, "a 32-bit float");
    return std::bit_cast<float>(static_cast<uint32_t>(value));
  }

 private:
  [[noreturn]] void fail(size_t at, const char* what) const {
    fail_input("{}: not a SentencePiece model: {} at byte {}", origin_, what, offset_ + at);
  }
  void require(int kind, const char* what) const {
    if (kind_ != kind)
      fail_input("{}: not a SentencePiece model: field {} before byte {} is not {}", origin_, number,
                 offset_ + at_, what);
  }
  uint64_t varint() {
    uint64_t result = 0;
    size_t start = at_;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at_ >= bytes_.size()) fail(start, "it ends inside of a number");
      unsigned char byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift < 64) result |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return result;
    }
    fail(start, "a number has more than ten bytes");
  }
  void read_value(size_t start, int depth) {
    if (kind_ == 0) {
      value = varint();
    } else if (kind_ == 1 || kind_ == 5) {
      size_t size = kind_ == 1 ? 8 : 4;
      if (bytes_.size() - at_ < size) fail(start, "it ends inside of a field");
      value = 0;
      std::memcpy(&value, bytes_.data() + at_, size);
      at_ += size;
    } else if (kind_ == 2) {
      uint64_t length = varint();
      if (length > bytes_.size() - at_) fail(start, "a field is longer than what holds it");
      content = bytes_.substr(at_, length);
      content_offset = offset_ + at_;
      at_ += length;
    } else if (kind_ == 3) {
      skip_group(start, depth);
    } else {
      fail(start, "a field of unknown kind");
    }
  }
  void skip_group(size_t start, int depth) {
    if (depth >= kMostGroups) fail(start, "groups are nested too deep");
    for (;;) {
      if (at_ >= bytes_.size()) fail(start, "it ends inside of a group");
      uint64_t tag = varint();
      if ((tag & 7) == 4) break;
      kind_ = static_cast<int>(tag & 7);
      read_value(start, depth + 1);
    }
    kind_ = 3;
  }

  std::string_view bytes_;
  size_t offset_, at_ = 0;
  int kind_ = 0;
  const std::string& origin_;
};

SentencePieceModel::Piece read_piece(Message fields, size_t index, const std::string& origin) {
  SentencePieceModel::Piece piece;
  while (fields.next()) {
    if (fields.number == 1) piece.text = fields.text();
    if (fields.number == 2) piece.score = fields.real();
    if (fields.number == 3) {
      if (fields.integer() < 1 || fields.integer() > 6)
        fail_input("{}: piece {} has the unknown type {}", origin, index, fields.integer());
      piece.kind = static_cast<SentencePieceModel::Kind>(fields.integer());
    }
  }
  if (!std::isfinite(piece.score)) fail_input("{}: the score of piece {} is not finite", origin, index);
  if (piece.text.empty()) fail_input("{}: piece {} is empty", origin, index);
  if (!is_valid_utf8(piece.text)) fail_input("{}: piece {} is not UTF-8", origin, index);
  return piece;
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& origin) {
  SentencePieceModel model;
  int64_t unknown = -1;
  Message fields(bytes, 0, origin);
  while (fields.next()) {
    if (fields.number == 1) {
      if (model.pieces.size() == kMostPieces) fail_input("{}: more than {} pieces", origin, kMostPieces);
      model.pieces.push_back(read_piece(fields.message(), model.pieces.size(), origin));
      if (model.pieces.back().kind == SentencePieceModel::Kind::kUnknown) {
        if (unknown >= 0)
          fail_input("{}: pieces {} and {} are both the unknown piece", origin, unknown,
                     model.pieces.size() - 1);
        unknown = static_cast<int64_t>(model.pieces.size()) - 1;
      }
    } else if (fields.number == 2) {
      for (Message trainer = fields.message(); trainer.next();) {
        if (trainer.number == 3) {
          if (trainer.integer() < 1 || trainer.integer() > 4)
            fail_input("{}: model_type {} is unknown", origin, trainer.integer());
          model.type = static_cast<SentencePieceModel::Type>(trainer.integer());
        }
        if (trainer.number == 35) model.byte_fallback = trainer.integer() != 0;
      }
    } else if (fields.number == 3) {
      for (Message normalizer = fields.message(); normalizer.next();) {
        if (normalizer.number == 2) model.precompiled_charsmap = normalizer.text();
        if (normalizer.number == 3) model.add_dummy_prefix = normalizer.integer() != 0;
        if (normalizer.number == 4) model.remove_extra_whitespaces = normalizer.integer() != 0;
        if (normalizer.number == 5) model.escape_whitespaces = normalizer.integer() != 0;
      }
    }
  }
  if (model.pieces.empty()) fail_input("{}: not a SentencePiece model: no pieces", origin);
  if (unknown < 0) fail_input("{}: no unknown piece", origin);
  if (model.type == SentencePieceModel::Type::kWord || model.type == SentencePieceModel::Type::kChar)
    fail_input("{}: model_type word and char are not supported, expected unigram or bpe", origin);
  if (!model.escape_whitespaces) fail_input("{}: escape_whitespaces = false is not supported", origin);
  model.unk_id = unknown;
  if (!model.precompiled_charsmap.empty()) Charsmap(model.precompiled_charsmap, origin);
  return model;
}

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path) {
  return parse_sentencepiece_model(read_file(path, uint64_t{256} << 20), path.string());
}

void complete_for_sentencepiece(TokenizerConfig& config, const SentencePieceModel& model) {
  auto set = [&](std::string& token, std::string_view name) {
    if (!token.empty()) return;
    for (const SentencePieceModel::Piece& piece : model.pieces)
      if (piece.kind == SentencePieceModel::Kind::kControl && piece.text == name) {
        token = name;
        return;
      }
  };
  set(config.bos_token, "<s>");
  set(config.eos_token, "</s>");
  set(config.pad_token, "<pad>");
  if (config.unk_token.empty()) config.unk_token = model.pieces[static_cast<size_t>(model.unk_id)].text;
  // Llama's classes write bos unless told otherwise.
  bool llama = config.tokenizer_class.empty() || config.tokenizer_class == "LlamaTokenizer" ||
               config.tokenizer_class == "CodeLlamaTokenizer";
  if (model.type == SentencePieceModel::Type::kBpe && llama && !config.add_bos_token)
    config.add_bos_token = !config.bos_token.empty();
}

Json merges_by_score(const std::vector<std::string>& tokens, const std::vector<double>& scores) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) ids.emplace(tokens[i], static_cast<int32_t>(i));
  struct Merge {
    double score;
    int32_t left, right;
  };
  std::vector<Merge> merges;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string_view token = tokens[i];
    std::vector<Merge> own;
    for (size_t cut = 1; cut < token.size() && token.size() <= 512; ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left != ids.end() && right != ids.end()) own.push_back({scores[i], left->second, right->second});
    }
    std::sort(own.begin(), own.end(), [](const Merge& a, const Merge& b) {
      return a.left != b.left ? a.left < b.left : a.right < b.right;
    });
    merges.insert(merges.end(), own.begin(), own.end());
  }
  // Transformers' generate_merges sorts by score, then by the lengths of both sides, all descending; ties
  // stay.
  auto length = [&](int32_t id) {
    const std::string& token = tokens[static_cast<size_t>(id)];
    return std::count_if(token.begin(), token.end(),
                         [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  };
  std::stable_sort(merges.begin(), merges.end(), [&](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (length(a.left) != length(b.left)) return length(a.left) > length(b.left);
    return length(a.right) > length(b.right);
  });
  Json out = Json::array();
  for (const Merge& merge : merges)
    out.push_back({tokens[static_cast<size_t>(merge.left)], tokens[static_cast<size_t>(merge.right)]});
  return out;
}

Json tokenizer_json(const SentencePieceModel& model, const TokenizerConfig& config) {
  using Kind = SentencePieceModel::Kind;
  const bool bpe = model.type == SentencePieceModel::Type::kBpe;
  const bool t5 = config.tokenizer_class == "T5Tokenizer";
  Json added = Json::array(), vocabulary = bpe ? Json::object() : Json::array();
  std::vector<std::string> tokens;
  std::vector<double> scores;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    if (piece.kind == Kind::kControl || piece.kind == Kind::kUserDefined || piece.kind == Kind::kUnknown)
      added.push_back(
          added_token_json(static_cast<TokenId>(id), piece.text, piece.kind != Kind::kUserDefined));
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    if (bpe)
      vocabulary.emplace(piece.text, id);
    else
      vocabulary.push_back({piece.text, static_cast<double>(piece.score)});
  }
  if (bpe && vocabulary.size() != model.pieces.size())
    fail_input("a SentencePiece model names a piece twice");
  Json normalizers = Json::array();
  if (!model.precompiled_charsmap.empty())
    normalizers.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(model.precompiled_charsmap)}});
  if (model.remove_extra_whitespaces) {
    normalizers.push_back({{"type", "Strip"}, {"strip_left", bpe}, {"strip_right", true}});
    normalizers.push_back(
        {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", bpe ? " " : "▁"}});
  }
  Json json;
  if (bpe) {
    if (model.add_dummy_prefix && config.add_prefix_space.value_or(true))
      normalizers.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
    Json decoders = {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                     {{"type", "ByteFallback"}},
                     {{"type", "Fuse"}}};
    if (model.add_dummy_prefix)
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    json["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
    json["model"] = {{"type", "BPE"},
                     {"unk_token", tokens[static_cast<size_t>(model.unk_id)]},
                     {"fuse_unk", true},
                     {"byte_fallback", model.byte_fallback},
                     {"vocab", std::move(vocabulary)},
                     {"merges", merges_by_score(tokens, scores)}};
  } else {
    // T5's sentinels stand behind the pieces, the last one first.
    if (t5)
      for (int64_t i = config.extra_ids; i-- > 0;) {
        std::string sentinel = fmt::format("<extra_id_{}>", i);
        added.push_back(added_token_json(static_cast<TokenId>(vocabulary.size()), sentinel, true));
        vocabulary.push_back({sentinel, 0.0});
      }
    Json metaspace = {{"type", "Metaspace"},
                      {"replacement", "▁"},
                      {"prepend_scheme", model.add_dummy_prefix ? "always" : "never"}};
    json["pre_tokenizer"] = metaspace;
    json["decoder"] = metaspace;
    if (t5) {
      normalizers.erase(normalizers.begin() + static_cast<ptrdiff_t>(!model.precompiled_charsmap.empty()),
                        normalizers.end());
      json["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace}}};
    }
    json["model"] = {{"type", "Unigram"},
                     {"unk_id", model.unk_id},
                     {"byte_fallback", model.byte_fallback},
                     {"vocab", std::move(vocabulary)}};
    if (t5) {
      auto eos = std::find(tokens.begin(), tokens.end(), config.eos_token);
      if (eos == tokens.end())
        fail_input("the eos_token \"{}\" is not in the SentencePiece model", printable(config.eos_token));
      Json special = {{"SpecialToken", {{"id", config.eos_token}, {"type_id", 0}}}};
      auto text = [](const char* id) { return Json{{"Sequence", {{"id", id}, {"type_id", 0}}}}; };
      json["post_processor"] = {
          {"type", "TemplateProcessing"},
          {"single", {text("A"), special}},
          {"pair", {text("A"), special, text("B"), special}},
          {"special_tokens",
           {{config.eos_token,
             {{"id", config.eos_token}, {"ids", {eos - tokens.begin()}}, {"tokens", {config.eos_token}}}}}}};
    }
  }
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  json["added_tokens"] = added;
  return json;
}

}  // namespace fettle
