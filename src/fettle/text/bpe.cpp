#include "fettle/text/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <queue>

#include "fettle/base/error.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

constexpr int64_t kMaxId = 1 << 28;
constexpr size_t kShortWord =
    48;  ///< up to here the best pair is searched, beyond it a queue keeps the cost n log n

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}
uint64_t mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ key >> 29;
}

}  // namespace

void MergeTable::reserve(size_t count) {
  slots_.assign(std::bit_ceil(count * 2 + 16), Slot());
  mask_ = slots_.size() - 1;
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  uint64_t key = pair_key(left, right);
  size_t at = mix(key) & mask_;
  while (slots_[at].key != ~uint64_t{0} && slots_[at].key != key) at = (at + 1) & mask_;
  slots_[at] = {key, merge};
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const {
  uint64_t key = pair_key(left, right);
  for (size_t at = mix(key) & mask_;; at = (at + 1) & mask_) {
    if (slots_[at].key == key) return slots_[at].merge;
    if (slots_[at].key == ~uint64_t{0}) return {};
  }
}

Bpe::Bpe(const Json& model, bool byte_level, const std::string& origin) : byte_level_(byte_level) {
  auto flag = [&](const char* key) {
    if (!model.contains(key) || model[key].is_null()) return false;
    if (!model[key].is_boolean()) fail_input("{}: model.{} must be true or false", origin, key);
    return model[key].get<bool>();
  };
  byte_fallback_ = flag("byte_fallback");
  fuse_unk_ = flag("fuse_unk");
  ignore_merges_ = flag("ignore_merges");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.contains(key) && model[key].is_string() && !model[key].get_ref<const std::string&>().empty())
      fail_input("{}: model.{} is not supported", origin, key);
  if (!model.contains("vocab") || !model["vocab"].is_object())
    fail_input("{}: model.vocab is missing", origin);
  const Json& vocab = model["vocab"];
  vocabulary_.reserve(vocab.size());
  words_.reserve(vocab.size());
  std::string bytes;
  for (const auto& [token, value] : vocab.items()) {
    if (!value.is_number_integer() || value.get<double>() < 0 ||
        value.get<double>() > static_cast<double>(kMaxId))
      fail_input("{}: model.vocab[\"{}\"] is {}, expected an id", origin, printable(token),
                 printable(value.dump(), 40));
    TokenId id = value.get<TokenId>();
    vocabulary_.emplace(token, id);
    if (!byte_level_)
      words_.emplace(token, id);
    else if (byte_level_to_bytes(token, bytes))
      words_.emplace(bytes, id);
  }
  if (model.contains("unk_token") && model["unk_token"].is_string()) {
    auto unk = vocabulary_.find(model["unk_token"].get_ref<const std::string&>());
    if (unk != vocabulary_.end()) unk_ = unk->second;
  }
  if (byte_level_) {
    byte_ids_.assign(256, -1);
    for (size_t b = 0; b < 256; ++b)
      if (auto found = vocabulary_.find(byte_level_alphabet()[b]); found != vocabulary_.end())
        byte_ids_[b] = found->second;
  } else if (byte_fallback_) {
    byte_ids_.assign(256, -1);
    for (size_t b = 0; b < 256; ++b)
      if (auto found = vocabulary_.find(fmt::format("<0x{:02X}>", b)); found != vocabulary_.end())
        byte_ids_[b] = found->second;
  }

  if (!model.contains("merges") || !model["merges"].is_array())
    fail_input("{}: model.merges is missing", origin);
  const Json& merges = model["merges"];
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const Json& merge : merges) {
    std::string left, right;
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos)
        fail_input("{}: model.merges[{}] is \"{}\", expected two tokens with a space between", origin, rank,
                   printable(text));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      fail_input("{}: model.merges[{}] is neither \"a b\" nor [\"a\", \"b\"]", origin, rank);
    }
    auto find = [&](const std::string& token) {
      auto found = vocabulary_.find(token);
      if (found == vocabulary_.end())
        fail_input("{}: model.merges[{}] needs the token \"{}\", which is not in the vocabulary", origin,
                   rank, printable(token));
      return found->second;
    };
    TokenId a = find(left), b = find(right);
    merges_.insert(a, b, {rank++, find(left + right)});
  }
}

void Bpe::initial_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  if (byte_level_) {
    for (unsigned char c : word)
      if (byte_ids_[c] >= 0) symbols.push_back(byte_ids_[c]);
    return;
  }
  bool last_unk = false;
  for (size_t i = 0; i < word.size();) {
    uint32_t code;
    size_t length = static_cast<size_t>(std::max(1, utf8_length(word, i, code)));
    std::string_view character = word.substr(i, length);
    i += length;
    if (auto found = words_.find(character); found != words_.end()) {
      symbols.push_back(found->second);
      last_unk = false;
      continue;
    }
    if (byte_fallback_) {
      bool all = true;
      for (unsigned char c : character) all = all && byte_ids_[c] >= 0;
      if (all) {
        for (unsigned char c : character) symbols.push_back(byte_ids_[c]);
        last_unk = false;
        continue;
      }
    }
    if (unk_ >= 0 && !(fuse_unk_ && last_unk)) symbols.push_back(unk_);
    last_unk = true;
  }
}

void Bpe::merge(std::vector<TokenId>& symbols) const {
  if (symbols.size() > kShortWord) return merge_long(symbols);
  // The rank of each neighbouring pair is kept; one merge changes the two pairs beside it.
  std::array<MergeTable::Merge, kShortWord> pairs;
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = n;
    for (size_t i = 0; i + 1 < n; ++i)
      if (pairs[i].rank >= 0 && (best == n || pairs[i].rank < pairs[best].rank)) best = i;
    if (best == n) break;
    symbols[best] = pairs[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best + 1; i + 2 < n; ++i) pairs[i] = pairs[i + 1];
    --n;
    if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

void Bpe::merge_long(std::vector<TokenId>& symbols) const {
  struct Candidate {
    int32_t rank;
    uint32_t position;
    TokenId id, left, right;
    bool operator<(const Candidate& other) const {  // the queue's top: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  uint32_t n = static_cast<uint32_t>(symbols.size());
  constexpr uint32_t kNone = ~uint32_t{0};
  std::vector<uint32_t> previous(n), next(n);
  std::vector<Candidate> initial;
  auto candidate = [&](uint32_t left, uint32_t right, auto&& take) {
    MergeTable::Merge m = merges_.find(symbols[left], symbols[right]);
    if (m.rank >= 0) take(Candidate{m.rank, left, m.id, symbols[left], symbols[right]});
  };
  for (uint32_t i = 0; i < n; ++i) {
    previous[i] = i ? i - 1 : kNone;
    next[i] = i + 1 < n ? i + 1 : kNone;
    if (i + 1 < n) candidate(i, i + 1, [&](Candidate c) { initial.push_back(c); });
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  while (!queue.empty()) {
    Candidate c = queue.top();
    queue.pop();
    uint32_t right = next[c.position];
    // An earlier merge may have taken either side.
    if (symbols[c.position] != c.left || right == kNone || symbols[right] != c.right) continue;
    symbols[c.position] = c.id;
    symbols[right] = -1;
    next[c.position] = next[right];
    if (next[right] != kNone) previous[next[right]] = c.position;
    auto push = [&](Candidate fresh) { queue.push(fresh); };
    if (previous[c.position] != kNone) candidate(previous[c.position], c.position, push);
    if (next[c.position] != kNone) candidate(c.position, next[c.position], push);
  }
  std::erase(symbols, -1);
}

void Bpe::encode_word(std::string_view word, std::vector<TokenId>& out) const {
  if (word.empty()) return;
  if (ignore_merges_)
    if (auto found = words_.find(word); found != words_.end()) {
      out.push_back(found->second);
      return;
    }
  thread_local std::vector<TokenId> symbols;
  symbols.clear();
  initial_symbols(word, symbols);
  merge(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace fettle
