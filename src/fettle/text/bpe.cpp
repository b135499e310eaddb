#include "fettle/text/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/text/component.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

constexpr size_t kShortWord =
    48;  ///< up to here the best pair is searched, beyond it a queue keeps the cost n log n

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}
uint64_t mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ key >> 29;
}

constexpr std::string_view kSpace = "\xE2\x96\x81";  ///< ▁

// The first ▁ behind `begin` that stands behind another character; the end of the word when there is none.
size_t next_space(std::string_view word, size_t begin) {
  for (size_t at = word.find(kSpace, begin + 1); at != word.npos; at = word.find(kSpace, at + 1))
    if (at < begin + kSpace.size() || word.compare(at - kSpace.size(), kSpace.size(), kSpace) != 0) return at;
  return word.size();
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
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

void BoundaryFilter::add(std::string_view token) {
  if (token.empty()) return;
  if (!continues_character(token[0]) && is_valid_utf8(token)) {
    uint32_t left = 0, right = 0;
    for (size_t at = next_character(token, 0, left); at < token.size(); left = right) {
      at += next_character(token, at, right);
      const uint64_t bit = key(left, right);
      pairs_[bit >> 6] |= uint64_t{1} << (bit & 63);
    }
    return;
  }
  for (size_t at = 1; at < token.size(); ++at) {
    if (continues_character(token[at])) continue;
    size_t pair = static_cast<size_t>(static_cast<unsigned char>(token[at - 1])) << 8 |
                  static_cast<unsigned char>(token[at]);
    split_pairs_[pair >> 6] |= uint64_t{1} << (pair & 63);
  }
}

size_t BoundaryFilter::part_end(std::string_view word, size_t begin) const {
  uint32_t left = 0, right = 0;
  for (size_t at = begin + next_character(word, begin, left); at < word.size(); left = right) {
    const size_t length = next_character(word, at, right);
    const uint64_t bit = key(left, right);
    if (!(pairs_[bit >> 6] >> (bit & 63) & 1) && !may_split(word, at)) return at;
    at += length;
  }
  return word.size();
}

Bpe::Bpe(const Json& model, bool byte_level, const std::string& origin) : byte_level_(byte_level) {
  byte_fallback_ = flag_field(model, "byte_fallback", false, origin);
  fuse_unk_ = flag_field(model, "fuse_unk", false, origin);
  ignore_merges_ = flag_field(model, "ignore_merges", false, origin);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.contains(key) && model[key].is_string() && !model[key].get_ref<const std::string&>().empty())
      fail_input("{}: model.{} is not supported", origin, key);
  if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"].get<double>() != 0)
    fail_input("{}: model.dropout is {}; merges that depend on chance are not supported, expected null",
               origin, model["dropout"].dump());
  read_vocabulary(model, origin);
  words_.reserve(vocabulary_.size());
  std::string bytes;
  for (const auto& [token, id] : vocabulary_) {
    longest_ = std::max(longest_, token.size());
    if (!byte_level_)
      words_.emplace(token, id);
    else if (byte_level_to_bytes(token, bytes))
      words_.emplace(bytes, id);
  }
  if (model.contains("unk_token") && model["unk_token"].is_string()) {
    auto unk = vocabulary_.find(model["unk_token"].get_ref<const std::string&>());
    if (unk != vocabulary_.end()) unk_ = unk->second;
  }
  if (byte_level_ || byte_fallback_) {
    byte_ids_.assign(256, -1);
    for (size_t b = 0; b < 256; ++b) {
      auto found = vocabulary_.find(byte_level_ ? byte_level_alphabet()[b] : fmt::format("<0x{:02X}>", b));
      if (found != vocabulary_.end()) byte_ids_[b] = found->second;
    }
  }
  read_merges(model, origin);
  read_characters();
  // Unknown characters are fused, or vanish so that their neighbours meet; where every byte of UTF-8 has a
  // token nothing is ever unknown.
  bool all_bytes = !byte_ids_.empty();
  for (size_t b = 0; b < byte_ids_.size(); ++b)
    all_bytes = all_bytes && (byte_ids_[b] >= 0 || b == 0xC0 || b == 0xC1 || b >= 0xF5);
  if (!all_bytes && (byte_level_ || fuse_unk_ || unk_ < 0)) cuts_ = false;
}

void Bpe::read_merges(const Json& model, const std::string& origin) {
  if (!model.contains("merges") || !model["merges"].is_array())
    fail_input("{}: model.merges is missing", origin);
  const Json& merges = model["merges"];
  merges_.reserve(merges.size());
  cuts_spaces_ = !byte_level_;
  int32_t rank = 0;
  std::string joined, bytes;
  for (const Json& merge : merges) {
    std::string_view left, right;
    if (merge.is_string()) {
      std::string_view text = merge.get_ref<const std::string&>();
      size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos)
        fail_input("{}: model.merges[{}] is \"{}\", expected two tokens with a space between", origin, rank,
                   printable(std::string(text)));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      fail_input("{}: model.merges[{}] is neither \"a b\" nor [\"a\", \"b\"]", origin, rank);
    }
    auto find = [&](std::string_view token) {
      auto found = vocabulary_.find(token);
      if (found == vocabulary_.end())
        fail_input("{}: model.merges[{}] needs the token \"{}\", which is not in the vocabulary", origin,
                   rank, printable(std::string(token)));
      return found->second;
    };
    joined.assign(left).append(right);
    TokenId a = find(left), b = find(right);
    merges_.insert(a, b, {rank++, find(joined)});
    // Merges of what stands for other characters are not seen in the text.
    for (std::string_view part : {left, right})
      if (byte_fallback_ && part.size() == 6 && part.starts_with("<0x")) cuts_ = false;
    if (!byte_level_)
      boundaries_.add(joined);
    else if (byte_level_to_bytes(joined, bytes))
      boundaries_.add(bytes);
    cuts_spaces_ = cuts_spaces_ && next_space(joined, 0) == joined.size();
  }
}

// Starting from characters instead of bytes saves most of the merges of Chinese text. It gives the same ids
// for a character whose bytes, left alone, become one token through merges of lower rank than every merge
// that uses this token, in places where no token can hold only a part of it.
void Bpe::read_characters() {
  character_ids_.assign(0x10000, -1);
  std::vector<int32_t> complete(0x10000, -1);
  std::unordered_map<TokenId, uint32_t> code_of;
  for (const auto& [token, id] : words_) {
    uint32_t code;
    if (token.empty() || next_character(token, 0, code) != token.size() || code > 0xFFFF ||
        !is_valid_utf8(token))
      continue;
    if (!byte_level_) {
      character_ids_[code] = id;
      continue;
    }
    if (token.size() < 2) continue;
    std::vector<TokenId> symbols;
    for (unsigned char byte : token) symbols.push_back(byte_ids_[byte]);
    if (std::count(symbols.begin(), symbols.end(), -1)) continue;
    complete[code] = merge(symbols);
    if (symbols.size() != 1 || symbols[0] != id) continue;
    character_ids_[code] = id;
    code_of.emplace(id, code);
  }
  merges_.for_each([&](TokenId left, TokenId right, int32_t rank) {
    for (TokenId part : {left, right})
      if (auto found = code_of.find(part); found != code_of.end() && rank < complete[found->second])
        character_ids_[found->second] = -1;
  });
}

void Bpe::initial_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  if (byte_level_) {
    for (size_t i = 0; i < word.size();) {
      uint32_t code;
      size_t end = i + next_character(word, i, code);
      if (code >= 0x80 && code < character_ids_.size() && character_ids_[code] >= 0 &&
          (i == 0 || !boundaries_.may_split(word, i)) &&
          (end == word.size() || !boundaries_.may_split(word, end))) {
        symbols.push_back(character_ids_[code]);
        i = end;
        continue;
      }
      for (; i < end; ++i)
        if (TokenId id = byte_ids_[static_cast<unsigned char>(word[i])]; id >= 0) symbols.push_back(id);
    }
    return;
  }
  bool last_unk = false;
  for (size_t i = 0; i < word.size();) {
    uint32_t code;
    size_t length = next_character(word, i, code);
    std::string_view character = word.substr(i, length);
    i += length;
    TokenId id = -1;
    if (code < character_ids_.size())
      id = character_ids_[code];
    else if (auto found = words_.find(character); found != words_.end())
      id = found->second;
    if (id >= 0) {
      symbols.push_back(id);
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

int32_t Bpe::merge(std::vector<TokenId>& symbols) const {
  int32_t highest = -1;
  if (symbols.size() > kShortWord) {
    merge_long(symbols);
    return highest;
  }
  // The rank of each neighbouring pair is kept; one merge changes the two pairs beside it.
  std::array<MergeTable::Merge, kShortWord> pairs;
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = n;
    for (size_t i = 0; i + 1 < n; ++i)
      if (pairs[i].rank >= 0 && (best == n || pairs[i].rank < pairs[best].rank)) best = i;
    if (best == n) break;
    highest = std::max(highest, pairs[best].rank);
    symbols[best] = pairs[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best + 1; i + 2 < n; ++i) pairs[i] = pairs[i + 1];
    --n;
    if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
  return highest;
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

void Bpe::encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const {
  if (ignore_merges_ && word.size() <= longest_)
    if (auto found = words_.find(word); found != words_.end()) {
      out.push_back(found->second);
      return;
    }
  if (!cuts_) return encode_part(word, out);
  size_t end = cuts_spaces_ ? next_space(word, 0) : word.size();
  if (end == word.size()) return encode_parts(word, cache, out);
  for (size_t begin = 0; begin < word.size(); begin = end) {
    end = next_space(word, begin);
    encode_cached(word.substr(begin, end - begin), cache, out);
  }
}

// A part that no token reaches across, but which may have more of such places inside.
void Bpe::encode_cached(std::string_view part, WordCache& cache, std::vector<TokenId>& out) const {
  if (part.size() > WordCache::kLongestWord) return encode_parts(part, cache, out);
  const Kind kind = ignore_merges_ ? kPart : kWholeWord;
  WordCache::Slot& slot = cache.slot(part, kind);
  if (WordCache::holds(slot, part, kind)) {
    WordCache::take(slot, out);
    return;
  }
  const size_t before = out.size();
  // Looking for places to cut costs more than merging a short word whole.
  constexpr size_t kShort = 24;
  if (part.size() <= kShort)
    encode_part(part, out);
  else
    encode_parts(part, cache, out);
  WordCache::put(slot, part, kind, std::span<const TokenId>(out).subspan(before));
}

void Bpe::encode_parts(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const {
  size_t end = boundaries_.part_end(word, 0);
  if (end == word.size()) return encode_part(word, out);
  const Kind part_kind = ignore_merges_ ? kPart : kWholeWord;
  for (size_t begin = 0; begin < word.size(); begin = end) {
    end = boundaries_.part_end(word, begin);
    std::string_view part = word.substr(begin, end - begin);
    if (part.size() > WordCache::kLongestWord) {
      encode_part(part, out);
      continue;
    }
    // A character that stands alone, as most of Chinese text where few characters are joined.
    if (uint32_t code;
        part.size() <= 3 && next_character(part, 0, code) == part.size() && character_ids_[code] >= 0) {
      out.push_back(character_ids_[code]);
      continue;
    }
    WordCache::Slot& slot = cache.slot(part, part_kind);
    if (!WordCache::holds(slot, part, part_kind)) {
      size_t before = out.size();
      encode_part(part, out);
      WordCache::put(slot, part, part_kind, std::span<const TokenId>(out).subspan(before));
    } else {
      WordCache::take(slot, out);
    }
  }
}

void Bpe::encode_part(std::string_view part, std::vector<TokenId>& out) const {
  thread_local std::vector<TokenId> symbols;
  symbols.clear();
  initial_symbols(part, symbols);
  merge(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace fettle
