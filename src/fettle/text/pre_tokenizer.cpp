#include "fettle/text/pre_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/class_cuts.h"
#include "fettle/text/component.h"
#include "fettle/text/matcher.h"
#include "fettle/text/unicode.h"

namespace fettle {
namespace {

using Stage = PreTokenizer::Stage;
using Sink = PreTokenizer::Sink;

enum class Behaviour { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behaviour behaviour_of(const Json& json, const std::string& origin, const char* fallback) {
  std::string name = fallback;
  if (json.contains("behavior") && !json["behavior"].is_null()) name = text_field(json, "behavior", origin);
  if (name == "Isolated") return Behaviour::kIsolated;
  if (name == "Removed") return Behaviour::kRemoved;
  if (name == "MergedWithPrevious") return Behaviour::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behaviour::kMergedWithNext;
  if (name == "Contiguous") return Behaviour::kContiguous;
  fail_input("{}: split behaviour \"{}\" is unknown", origin, printable(name));
}

/// Cuts at the matches of a pattern, as NormalizedString::split.
class Split final : public Stage {
 public:
  Split(std::shared_ptr<const Matcher> matcher, Behaviour behaviour, bool invert)
      : matcher_(std::move(matcher)), behaviour_(behaviour), invert_(invert) {}

  /// What it cuts out of a text and changes nothing else, when that is a simple pattern; else null.
  const ClassPattern* class_pattern() const {
    return behaviour_ == Behaviour::kIsolated && !invert_ ? matcher_->class_pattern() : nullptr;
  }

  void cut(std::string_view text, bool first, Sink sink) const override {
    bool isolated = behaviour_ == Behaviour::kIsolated;
    if (!isolated && behaviour_ != Behaviour::kRemoved) return merge(text, first, sink);
    auto give = [&](size_t begin, size_t end, bool match) {
      if (begin < end && (isolated || match == invert_))
        sink(text.substr(begin, end - begin), first && begin == 0);
    };
    size_t at = 0, begin, end;
    while (at < text.size() && matcher_->next(text, at, begin, end)) {
      give(at, begin, false);
      give(begin, end, true);
      at = end;
    }
    give(at, text.size(), false);
  }

 private:
  struct Piece {
    size_t begin, end;
    bool match;
  };

  // The behaviours that join neighbours.
  void merge(std::string_view text, bool first, Sink sink) const {
    std::vector<Piece> pieces, joined;
    pieces.reserve(16);
    joined.reserve(16);
    size_t at = 0, begin, end;
    while (at < text.size() && matcher_->next(text, at, begin, end)) {
      if (begin > at) pieces.push_back({at, begin, invert_});
      pieces.push_back({begin, end, !invert_});
      at = end;
    }
    if (at < text.size()) pieces.push_back({at, text.size(), invert_});
    bool previous = false;
    if (behaviour_ == Behaviour::kMergedWithNext) {
      for (size_t i = pieces.size(); i-- > 0;) {
        if (pieces[i].match && !previous && !joined.empty())
          joined.back().begin = pieces[i].begin;
        else
          joined.push_back(pieces[i]);
        previous = pieces[i].match;
      }
      std::reverse(joined.begin(), joined.end());
    } else {
      for (const Piece& piece : pieces) {
        bool contiguous = behaviour_ == Behaviour::kContiguous;
        if (!joined.empty() && (contiguous ? piece.match == previous : piece.match && !previous))
          joined.back().end = piece.end;
        else
          joined.push_back(piece);
        previous = piece.match;
      }
    }
    for (const Piece& piece : joined)
      sink(text.substr(piece.begin, piece.end - piece.begin), first && piece.begin == 0);
  }

  std::shared_ptr<const Matcher> matcher_;
  Behaviour behaviour_;
  bool invert_;
};

/// Puts a space before a text that has none, as ByteLevel's add_prefix_space.
class PrefixSpace final : public Stage {
 public:
  void cut(std::string_view text, bool first, Sink sink) const override {
    if (text.starts_with(' ')) return sink(text, first);
    std::string spaced = " ";
    spaced += text;
    sink(spaced, first);
  }
};

class Metaspace final : public Stage {
 public:
  Metaspace(const Json& json, const std::string& origin)
      : replacement_(json.contains("replacement") ? text_field(json, "replacement", origin) : "▁"),
        scheme_(scheme_of(prepend_scheme(json, origin))),
        splits_(flag_field(json, "split", true, origin)) {
    if (replacement_.empty() || replacement_.size() > 4)
      fail_input("{}: Metaspace's replacement must be one character", origin);
  }

  void cut(std::string_view text, bool first, Sink sink) const override {
    std::string marked;
    marked.reserve(text.size() + text.size() / 2 + replacement_.size());
    if (scheme_ == Scheme::kAlways || (scheme_ == Scheme::kFirst && first))
      if (!text.starts_with(' ') && !text.starts_with(replacement_)) marked = replacement_;
    for (size_t at = 0, space; at < text.size(); at = space + 1) {
      space = std::min(text.find(' ', at), text.size());
      marked += text.substr(at, space - at);
      if (space < text.size()) marked += replacement_;
    }
    if (!splits_) return sink(marked, first);
    // Every replacement begins a word, as Split's MergedWithNext.
    for (size_t begin = 0, end; begin < marked.size(); begin = end) {
      end = std::min(marked.find(replacement_, begin + 1), marked.size());
      sink(std::string_view(marked).substr(begin, end - begin), first && begin == 0);
    }
  }

 private:
  enum class Scheme { kAlways, kFirst, kNever };
  static Scheme scheme_of(const std::string& name) {
    return name == "always" ? Scheme::kAlways : name == "first" ? Scheme::kFirst : Scheme::kNever;
  }
  std::string replacement_;
  Scheme scheme_;
  bool splits_;
};

using Stages = std::vector<std::shared_ptr<const Stage>>;

void add_stages(const Json& json, const std::string& origin, int depth, Stages& stages) {
  std::string type = type_of(json, origin, "pre_tokenizer");
  auto split = [&](std::shared_ptr<const Matcher> matcher, Behaviour behaviour, bool invert = false) {
    stages.push_back(std::make_shared<Split>(std::move(matcher), behaviour, invert));
  };
  if (type == "Sequence") {
    if (depth > 32) fail_input("{}: Sequences are nested more than 32 deep", origin);
    for (const Json& part : list_field(json, "pretokenizers", origin))
      add_stages(part, origin, depth + 1, stages);
  } else if (type == "ByteLevel") {
    if (flag_field(json, "add_prefix_space", true, origin)) stages.push_back(std::make_shared<PrefixSpace>());
    if (flag_field(json, "use_regex", true, origin)) split(gpt2_matcher(), Behaviour::kIsolated);
  } else if (type == "Split") {
    split(make_matcher(json, origin), behaviour_of(json, origin, "Isolated"),
          flag_field(json, "invert", false, origin));
  } else if (type == "Digits") {
    split(class_matcher(kNumeric), flag_field(json, "individual_digits", false, origin)
                                       ? Behaviour::kIsolated
                                       : Behaviour::kContiguous);
  } else if (type == "Punctuation") {
    split(class_matcher(kBertPunctuation), behaviour_of(json, origin, "Isolated"));
  } else if (type == "Whitespace") {
    // \w+|[^\w\s]+
    split(class_matcher(kSpace, true), Behaviour::kRemoved);
    split(class_matcher(kWord, true), Behaviour::kIsolated);
  } else if (type == "WhitespaceSplit") {
    split(class_matcher(kSpace, true), Behaviour::kRemoved);
  } else if (type == "BertPreTokenizer") {
    split(class_matcher(kSpace, true), Behaviour::kRemoved);
    split(class_matcher(kBertPunctuation), Behaviour::kIsolated);
  } else if (type == "CharDelimiterSplit") {
    std::string delimiter = text_field(json, "delimiter", origin);
    if (delimiter.empty() || delimiter.size() > 4)
      fail_input("{}: CharDelimiterSplit's delimiter must be one character", origin);
    split(literal_matcher(delimiter), Behaviour::kRemoved);
  } else if (type == "Metaspace") {
    stages.push_back(std::make_shared<Metaspace>(json, origin));
  } else {
    fail_input("{}: pre_tokenizer {} is not supported", origin, printable(type));
  }
}

// Puts neighbouring Splits by character classes together.
Stages joined(const Stages& stages) {
  Stages result;
  for (size_t i = 0; i < stages.size();) {
    std::vector<const ClassPattern*> patterns;
    for (size_t k = i; k < stages.size() && patterns.size() < ClassCuts::kMostPatterns; ++k) {
      const auto* split = dynamic_cast<const Split*>(stages[k].get());
      if (!split || !split->class_pattern()) break;
      patterns.push_back(split->class_pattern());
    }
    if (patterns.size() > 1)
      result.push_back(std::make_shared<ClassCuts>(patterns));
    else
      result.push_back(stages[i]);
    i += std::max<size_t>(patterns.size(), 1);
  }
  return result;
}

}  // namespace

PreTokenizer PreTokenizer::make(const Json& json, const std::string& origin) {
  PreTokenizer cutter;
  if (json.is_null()) return cutter;
  Stages stages;
  add_stages(json, origin, 0, stages);
  cutter.stages_ = joined(stages);
  return cutter;
}

void PreTokenizer::cut_from(size_t stage, std::string_view text, bool first, Sink sink) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return sink(text, first);
  // The last stage hands its words out itself.
  if (stage + 1 == stages_.size()) return stages_[stage]->cut(text, first, sink);
  stages_[stage]->cut(text, first,
                      [&](std::string_view piece, bool begins) { cut_from(stage + 1, piece, begins, sink); });
}

bool uses_byte_level(const Json& json) {
  if (!json.is_object()) return false;
  if (json.contains("type") && json["type"] == "ByteLevel") return true;
  for (const char* key : {"pretokenizers", "decoders"})
    if (json.contains(key) && json[key].is_array())
      for (const Json& part : json[key])
        if (uses_byte_level(part)) return true;
  return false;
}

}  // namespace fettle
