#include "fettle/text/unigram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

constexpr double kUnkPenalty = 10.0;
constexpr size_t kMostTokens = 10'000'000;
constexpr size_t kMostBytes = size_t{256} << 20;

size_t edge_hash(uint32_t node, uint8_t byte) {
  uint64_t key = (static_cast<uint64_t>(node) << 8 | byte) * 0x9E3779B97F4A7C15ull;
  return key >> 20;
}

}  // namespace

uint32_t Unigram::child(uint32_t node, uint8_t byte) const {
  const size_t mask = edges_.size() - 1;
  for (size_t at = edge_hash(node, byte) & mask;; at = (at + 1) & mask) {
    const Edge& edge = edges_[at];
    if (edge.node == 0 || (edge.parent == node && edge.byte == byte)) return edge.node;
  }
}

uint32_t Unigram::make_child(uint32_t node, uint8_t byte) {
  const size_t mask = edges_.size() - 1;
  for (size_t at = edge_hash(node, byte) & mask;; at = (at + 1) & mask) {
    Edge& edge = edges_[at];
    if (edge.node != 0 && (edge.parent != node || edge.byte != byte)) continue;
    if (edge.node == 0) {
      edge = {static_cast<uint32_t>(ends_.size()), node, byte};
      ends_.push_back(-1);
    }
    return edge.node;
  }
}

Unigram::Unigram(const Json& model, const std::string& origin) : origin_(origin) {
  if (!model.contains("vocab") || !model["vocab"].is_array())
    fail_input("{}: model.vocab must be a list of [token, score]", origin);
  const Json& vocab = model["vocab"];
  if (vocab.empty() || vocab.size() > kMostTokens)
    fail_input("{}: model.vocab has {} tokens, expected 1 to {}", origin, vocab.size(), kMostTokens);
  size_t bytes = 0;
  double lowest = 0;
  for (size_t id = 0; id < vocab.size(); ++id) {
    const Json& entry = vocab[id];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number() ||
        !std::isfinite(entry[1].get<double>()))
      fail_input("{}: model.vocab[{}] is {}, expected [token, score]", origin, id,
                 printable(entry.dump(), 60));
    bytes += entry[0].get_ref<const std::string&>().size();
    scores_.push_back(entry[1].get<double>());
    lowest = id == 0 ? scores_[0] : std::min(lowest, scores_.back());
  }
  if (bytes > kMostBytes) fail_input("{}: the tokens of model.vocab have {} bytes", origin, bytes);
  unk_score_ = lowest - kUnkPenalty;
  edges_.resize(std::bit_ceil(bytes * 2 + 16));
  ends_.push_back(-1);
  vocabulary_.reserve(vocab.size());
  for (size_t id = 0; id < vocab.size(); ++id) {
    const std::string& token = vocab[id][0].get_ref<const std::string&>();
    // Of equal tokens the last one counts, as in the map of `tokenizers`.
    vocabulary_[token] = static_cast<TokenId>(id);
    uint32_t node = 0;
    for (char c : token) node = make_child(node, static_cast<uint8_t>(c));
    if (node != 0) ends_[node] = static_cast<TokenId>(id);
  }
  for (int byte = 0; byte < 256; ++byte) first_.push_back(child(0, static_cast<uint8_t>(byte)));
  if (model.contains("unk_id") && !model["unk_id"].is_null()) {
    unk_ = id_value(model["unk_id"], "model.unk_id", origin);
    if (static_cast<size_t>(unk_) >= vocab.size())
      fail_input("{}: model.unk_id is {}, the vocabulary has {} tokens", origin, unk_, vocab.size());
  }
  if (unk_ >= 0) unk_token_ = vocab[static_cast<size_t>(unk_)][0].get<std::string>();
  if (flag_field(model, "byte_fallback", false, origin)) {
    for (size_t b = 0; b < 256; ++b) {
      auto found = vocabulary_.find(fmt::format("<0x{:02X}>", b));
      byte_ids_.push_back(found == vocabulary_.end() ? -1 : found->second);
    }
    byte_fallback_ = true;
  }
}

void Unigram::encode_new(std::string_view word, WordCache&, std::vector<TokenId>& out) const {
  struct Best {
    double score = 0;
    uint32_t begin = 0;
    TokenId id = -1;
  };
  if (word.size() > std::numeric_limits<uint32_t>::max())
    fail_input("{}: a word of {} bytes is too long", origin_, word.size());
  thread_local std::vector<Best> best;
  best.assign(word.size() + 1, Best());
  for (size_t begin = 0; begin < word.size();) {
    uint32_t code;
    size_t length = next_character(word, begin, code);
    double here = best[begin].score;
    bool single = false;
    auto offer = [&](size_t end, double score, TokenId id) {
      if (best[end].id < 0 || score > best[end].score) best[end] = {score, static_cast<uint32_t>(begin), id};
    };
    uint32_t node = 0;
    for (size_t end = begin; end < word.size();) {
      const uint8_t byte = static_cast<uint8_t>(word[end++]);
      node = node == 0 ? first_[byte] : child(node, byte);
      if (node == 0) break;
      TokenId id = ends_[node];
      if (id < 0) continue;
      offer(end, here + scores_[static_cast<size_t>(id)], id);
      single = single || end - begin == length;
    }
    if (!single) {
      if (unk_ < 0)
        fail_input("{}: a text holds characters outside of the vocabulary, and model.unk_id is missing",
                   origin_);
      offer(begin + length, here + unk_score_, unk_);
    }
    begin += length;
  }
  // From the end to the front; neighbouring unknown characters are one piece.
  struct Piece {
    size_t begin, end;
    TokenId id;
  };
  thread_local std::vector<Piece> pieces;
  pieces.clear();
  bool joining = false;
  for (size_t end = word.size(); end > 0; end = best[end].begin) {
    bool unknown = best[end].id == unk_;
    if (unknown && joining)
      pieces.back().begin = best[end].begin;
    else
      pieces.push_back({best[end].begin, end, best[end].id});
    joining = unknown;
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    // What the search calls unknown is no token, however many characters: a token would have scored higher.
    if (piece->id != unk_)
      out.push_back(piece->id);
    else
      emit_unknown(word.substr(piece->begin, piece->end - piece->begin), out);
  }
}

void Unigram::emit_unknown(std::string_view piece, std::vector<TokenId>& out) const {
  // The unknown token itself may be written out in a text.
  if (piece == unk_token_) {
    out.push_back(unk_);
    return;
  }
  bool bytes = byte_fallback_;
  for (char c : piece) bytes = bytes && byte_ids_[static_cast<unsigned char>(c)] >= 0;
  if (!bytes) {
    out.push_back(unk_);
    return;
  }
  for (char c : piece) out.push_back(byte_ids_[static_cast<unsigned char>(c)]);
}

}  // namespace fettle
