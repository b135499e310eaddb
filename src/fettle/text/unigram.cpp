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

// Viterbi from left to right. Where no token reaches across a place the best way up to it is decided: it is
// written out, and the lattice begins anew there with the score so far, so that sums are those of the whole
// word.
void Unigram::encode_new(std::string_view word, WordCache&, std::vector<TokenId>& out) const {
  struct Best {
    double score = 0;
    uint32_t begin = 0;
    TokenId id = -1;
  };
  if (word.size() > std::numeric_limits<uint32_t>::max())
    fail_input("{}: a word of {} bytes is too long", origin_, word.size());
  thread_local std::vector<Best> best;      // by distance from `start`; ids are -1 from `reached` on
  thread_local std::vector<uint32_t> ways;  // ends of the pieces of the best way, from the last to the first
  size_t start = 0, reached = 0;            // the lattice spans [start, reached]
  constexpr size_t kNone = ~size_t{0};
  size_t unknown = kNone;  // where neighbouring unknown characters before `start` begin, which are one piece
  double score = 0;        // of the best way up to `start`
  auto end_unknown = [&](size_t end) {
    if (unknown != kNone) emit_unknown(word.substr(unknown, end - unknown), out);
    unknown = kNone;
  };
  auto finish = [&] {
    ways.clear();
    for (size_t end = reached; end > start; end = best[end - start].begin)
      ways.push_back(static_cast<uint32_t>(end));
    for (size_t i = ways.size(); i-- > 0;) {
      const Best& piece = best[ways[i] - start];
      // What the search calls unknown is no token, however many characters: a token would have scored higher.
      if (piece.id == unk_) {
        if (unknown == kNone) unknown = piece.begin;
        continue;
      }
      end_unknown(piece.begin);
      out.push_back(piece.id);
    }
    score = best[reached - start].score;
    std::fill(best.begin(), best.begin() + static_cast<ptrdiff_t>(reached - start + 1), Best());
    start = reached;
  };
  if (best.empty()) best.resize(64);
  for (size_t begin = 0; begin < word.size();) {
    if (begin == reached && reached > start) finish();
    uint32_t code;
    const size_t length = next_character(word, begin, code);
    uint32_t node = first_[static_cast<uint8_t>(word[begin])];
    if (node == 0 && begin == start && unk_ >= 0) {
      // A character that begins no token, with nothing else open.
      if (unknown == kNone) unknown = begin;
      score += unk_score_;
      begin += length;
      start = reached = begin;
      continue;
    }
    const double here = begin == start ? score : best[begin - start].score;
    auto offer = [&](size_t end, double sum, TokenId id) {
      if (end - start >= best.size()) best.resize(best.size() * 2 + (end - start));
      Best& known = best[end - start];
      if (known.id < 0 || sum > known.score) known = {sum, static_cast<uint32_t>(begin), id};
      reached = std::max(reached, end);
    };
    bool single = false;
    for (size_t end = begin + 1; node != 0; node = child(node, static_cast<uint8_t>(word[end++]))) {
      if (const TokenId id = ends_[node]; id >= 0) {
        offer(end, here + scores_[static_cast<size_t>(id)], id);
        single = single || end - begin == length;
      }
      if (end == word.size()) break;
    }
    if (!single) {
      if (unk_ < 0) {
        best.clear();
        fail_input("{}: a text holds characters outside of the vocabulary, and model.unk_id is missing",
                   origin_);
      }
      offer(begin + length, here + unk_score_, unk_);
    }
    begin += length;
  }
  if (reached > start) finish();
  end_unknown(word.size());
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
