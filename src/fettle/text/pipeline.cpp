#include "fettle/text/pipeline.h"

#include <utf8proc.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/regex.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

std::string type_of(const Json& json, const std::string& origin, const char* stage) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string())
    fail_input("{}: {} has no type", origin, stage);
  return json["type"].get<std::string>();
}

std::string text_field(const Json& json, const char* key, const std::string& origin) {
  if (!json.contains(key) || !json[key].is_string())
    fail_input("{}: {} has no text \"{}\"", origin, printable(json.value("type", "")), key);
  return json[key].get<std::string>();
}

bool flag_field(const Json& json, const char* key, bool fallback) {
  return json.contains(key) && json[key].is_boolean() ? json[key].get<bool>() : fallback;
}

const Json& list_field(const Json& json, const char* key, const std::string& origin) {
  if (!json.contains(key) || !json[key].is_array())
    fail_input("{}: Sequence has no list \"{}\"", origin, key);
  return json[key];
}

Regex pattern_of(const Json& json, const std::string& origin) {
  if (json.contains("pattern") && json["pattern"].is_object()) {
    const Json& pattern = json["pattern"];
    if (pattern.contains("Regex") && pattern["Regex"].is_string())
      return Regex(pattern["Regex"].get<std::string>(), origin);
    if (pattern.contains("String") && pattern["String"].is_string())
      return Regex::literal(pattern["String"].get<std::string>(), origin);
  }
  fail_input("{}: {} needs a pattern: {{\"Regex\"}} or {{\"String\"}}", origin,
             printable(json.value("type", "")));
}

std::string replace_all(const std::string& text, const Regex& regex, const std::string& content,
                        const std::string& origin) {
  std::string out;
  size_t at = 0;
  regex.for_each_match(text, [&](size_t begin, size_t end) {
    out.append(text, at, begin - at);
    out += content;
    at = end;
    if (out.size() > text.size() * 16 + (size_t{64} << 20))
      fail_input("{}: Replace makes a text too long", origin);
  });
  return out.append(text, at);
}

std::string unicode_form(const std::string& text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                         static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  if (length < 0) return text;
  std::string out(reinterpret_cast<char*>(mapped), static_cast<size_t>(length));
  std::free(mapped);
  return out;
}

bool is_white_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string strip(const std::string& text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  uint32_t code;
  while (left && begin < end) {
    int length = utf8_length(text, begin, code);
    if (!length || !is_white_space(code)) break;
    begin += static_cast<size_t>(length);
  }
  while (right && end > begin) {
    size_t start = end - 1;
    while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!utf8_length(text, start, code) || !is_white_space(code)) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

// --- pre-tokenizers
// ---------------------------------------------------------------------------------------------------

enum class Behaviour { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behaviour behaviour_of(const Json& json, const std::string& origin, const char* fallback) {
  std::string name = json.contains("behavior") && json["behavior"].is_string()
                         ? json["behavior"].get<std::string>()
                         : fallback;
  if (name == "Isolated") return Behaviour::kIsolated;
  if (name == "Removed") return Behaviour::kRemoved;
  if (name == "MergedWithPrevious") return Behaviour::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behaviour::kMergedWithNext;
  if (name == "Contiguous") return Behaviour::kContiguous;
  fail_input("{}: split behaviour \"{}\" is unknown", origin, printable(name));
}

// Cuts one word at the matches, as NormalizedString::split.
void split_word(const std::string& word, const Regex& regex, Behaviour behaviour, bool invert, Words& out) {
  struct Piece {
    size_t begin, end;
    bool match;
  };
  std::vector<Piece> pieces;
  size_t at = 0;
  regex.for_each_match(word, [&](size_t begin, size_t end) {
    if (begin > at) pieces.push_back({at, begin, invert});
    pieces.push_back({begin, end, !invert});
    at = end;
  });
  if (at < word.size()) pieces.push_back({at, word.size(), invert});
  std::vector<Piece> cut;
  bool previous = false;
  if (behaviour == Behaviour::kMergedWithNext) {
    for (size_t i = pieces.size(); i-- > 0;) {
      if (pieces[i].match && !previous && !cut.empty())
        cut.back().begin = pieces[i].begin;
      else
        cut.push_back(pieces[i]);
      previous = pieces[i].match;
    }
    std::reverse(cut.begin(), cut.end());
  } else {
    for (const Piece& piece : pieces) {
      if (behaviour == Behaviour::kRemoved && piece.match) continue;
      bool joins =
          !cut.empty() && ((behaviour == Behaviour::kMergedWithPrevious && piece.match && !previous) ||
                           (behaviour == Behaviour::kContiguous && piece.match == previous));
      if (joins)
        cut.back().end = piece.end;
      else
        cut.push_back(piece);
      previous = piece.match;
    }
  }
  for (const Piece& piece : cut) out.push_back(word.substr(piece.begin, piece.end - piece.begin));
}

PreTokenizer splitter(Regex regex, Behaviour behaviour, bool invert) {
  return [regex = std::move(regex), behaviour, invert](Words& words, bool) {
    Words out;
    for (const std::string& word : words) split_word(word, regex, behaviour, invert, out);
    words = std::move(out);
  };
}

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kPunctuation = R"([\p{P}\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}])";

PreTokenizer byte_level(const Json& json, const std::string& origin) {
  bool prefix = flag_field(json, "add_prefix_space", true), use_regex = flag_field(json, "use_regex", true);
  PreTokenizer cut =
      use_regex ? splitter(Regex(kGpt2Pattern, origin), Behaviour::kIsolated, false) : PreTokenizer();
  return [prefix, cut](Words& words, bool first) {
    if (prefix)
      for (std::string& word : words)
        if (!word.starts_with(' ')) word.insert(0, " ");
    if (cut) cut(words, first);
  };
}

PreTokenizer metaspace(const Json& json, const std::string& origin) {
  std::string replacement = json.value("replacement", "▁"), scheme = json.value("prepend_scheme", "always");
  if (json.contains("add_prefix_space") && json["add_prefix_space"] == false) scheme = "never";
  bool split = flag_field(json, "split", true);
  Regex mark = Regex::literal(replacement, origin), space = Regex::literal(" ", origin);
  return [=](Words& words, bool first) {
    Words out;
    for (std::string& word : words) {
      std::string text = replace_all(word, space, replacement, origin);
      bool wanted = scheme == "always" || (scheme == "first" && first);
      if (wanted && !text.starts_with(replacement)) text = replacement + text;
      first = false;
      if (split)
        split_word(text, mark, Behaviour::kMergedWithNext, false, out);
      else
        out.push_back(std::move(text));
    }
    words = std::move(out);
  };
}

// --- decoders
// ---------------------------------------------------------------------------------------------------------

std::vector<std::string> decode_byte_level(std::vector<std::string> tokens) {
  std::string all, bytes;
  for (const std::string& token : tokens) all += byte_level_to_bytes(token, bytes) ? bytes : token;
  return {utf8_lossy(all)};
}

bool byte_token(const std::string& token, char& byte) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return false;
  int value = 0;
  for (char c : {token[3], token[4]}) {
    if (!std::isxdigit(static_cast<unsigned char>(c))) return false;
    value = value * 16 + (std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : std::toupper(c) - 'A' + 10);
  }
  byte = static_cast<char>(value);
  return true;
}

// Runs of byte tokens become text, or one U+FFFD for each byte when they are not valid UTF-8.
std::vector<std::string> decode_byte_fallback(std::vector<std::string> tokens) {
  std::vector<std::string> out;
  std::string run;
  auto flush = [&] {
    if (run.empty()) return;
    if (is_valid_utf8(run))
      out.push_back(run);
    else
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    run.clear();
  };
  for (std::string& token : tokens) {
    char byte;
    if (byte_token(token, byte)) {
      run += byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  return out;
}

Decoder strip_decoder(const Json& json, const std::string& origin) {
  std::string content = text_field(json, "content", origin);
  int64_t start = json.value("start", 0), stop = json.value("stop", 0);
  return [=](std::vector<std::string> tokens) {
    if (content.empty()) return tokens;
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start && token.starts_with(content); ++i) token.erase(0, content.size());
      for (int64_t i = 0; i < stop && token.ends_with(content); ++i)
        token.erase(token.size() - content.size());
    }
    return tokens;
  };
}

Decoder metaspace_decoder(const Json& json) {
  std::string replacement = json.value("replacement", "▁"), scheme = json.value("prepend_scheme", "always");
  if (json.contains("add_prefix_space") && json["add_prefix_space"] == false) scheme = "never";
  return [=](std::vector<std::string> tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      for (size_t at = 0; at < tokens[i].size();) {
        if (tokens[i].compare(at, replacement.size(), replacement) == 0) {
          if (!(i == 0 && at == 0 && scheme != "never")) out += ' ';
          at += replacement.size();
        } else {
          out += tokens[i][at++];
        }
      }
      tokens[i] = out;
    }
    return tokens;
  };
}

}  // namespace

Normalizer make_normalizer(const Json& json, const std::string& origin) {
  if (json.is_null()) return [](std::string text) { return text; };
  std::string type = type_of(json, origin, "normalizer");
  if (type == "Sequence") {
    std::vector<Normalizer> parts;
    for (const Json& part : list_field(json, "normalizers", origin))
      parts.push_back(make_normalizer(part, origin));
    return [parts](std::string text) {
      for (const Normalizer& part : parts) text = part(std::move(text));
      return text;
    };
  }
  if (type == "NFC") return [](std::string text) { return unicode_form(text, UTF8PROC_COMPOSE); };
  if (type == "NFD") return [](std::string text) { return unicode_form(text, UTF8PROC_DECOMPOSE); };
  if (type == "NFKC")
    return [](std::string text) { return unicode_form(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT); };
  if (type == "NFKD")
    return [](std::string text) { return unicode_form(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT); };
  if (type == "Lowercase") {
    return [](std::string text) {
      std::string out;
      for (size_t i = 0; i < text.size();) {
        uint32_t code;
        int length = std::max(1, utf8_length(text, i, code));
        append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
        i += static_cast<size_t>(length);
      }
      return out;
    };
  }
  if (type == "Prepend") {
    std::string prefix = text_field(json, "prepend", origin);
    return [prefix](std::string text) { return text.empty() ? text : prefix + text; };
  }
  if (type == "Replace") {
    Regex regex = pattern_of(json, origin);
    std::string content = text_field(json, "content", origin);
    return [regex, content, origin](std::string text) { return replace_all(text, regex, content, origin); };
  }
  if (type == "Strip") {
    bool left = flag_field(json, "strip_left", true), right = flag_field(json, "strip_right", true);
    return [left, right](std::string text) { return strip(text, left, right); };
  }
  fail_input("{}: normalizer {} is not supported", origin, printable(type));
}

PreTokenizer make_pre_tokenizer(const Json& json, const std::string& origin) {
  if (json.is_null()) return [](Words&, bool) {};
  std::string type = type_of(json, origin, "pre_tokenizer");
  if (type == "Sequence") {
    std::vector<PreTokenizer> parts;
    for (const Json& part : list_field(json, "pretokenizers", origin))
      parts.push_back(make_pre_tokenizer(part, origin));
    return [parts](Words& words, bool first) {
      for (const PreTokenizer& part : parts) part(words, first);
    };
  }
  if (type == "ByteLevel") return byte_level(json, origin);
  if (type == "Split")
    return splitter(pattern_of(json, origin), behaviour_of(json, origin, "Isolated"),
                    flag_field(json, "invert", false));
  if (type == "Digits")
    return splitter(
        Regex(R"(\p{N})", origin),
        flag_field(json, "individual_digits", false) ? Behaviour::kIsolated : Behaviour::kContiguous, false);
  if (type == "Punctuation")
    return splitter(Regex(kPunctuation, origin), behaviour_of(json, origin, "Isolated"), false);
  if (type == "Whitespace") return splitter(Regex(R"(\w+|[^\w\s]+)", origin), Behaviour::kRemoved, true);
  if (type == "WhitespaceSplit") return splitter(Regex(R"(\s)", origin), Behaviour::kRemoved, false);
  if (type == "Metaspace") return metaspace(json, origin);
  fail_input("{}: pre_tokenizer {} is not supported", origin, printable(type));
}

bool uses_byte_level(const Json& json) {
  if (!json.is_object()) return false;
  if (json.value("type", "") == "ByteLevel") return true;
  for (const char* key : {"pretokenizers", "decoders"})
    if (json.contains(key) && json[key].is_array())
      for (const Json& part : json[key])
        if (uses_byte_level(part)) return true;
  return false;
}

Decoder make_decoder(const Json& json, const std::string& origin) {
  if (json.is_null())
    // Without a decoder `tokenizers` puts spaces between tokens.
    return [](std::vector<std::string> tokens) {
      for (size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, " ");
      return tokens;
    };
  std::string type = type_of(json, origin, "decoder");
  if (type == "Sequence") {
    std::vector<Decoder> parts;
    for (const Json& part : list_field(json, "decoders", origin)) parts.push_back(make_decoder(part, origin));
    return [parts](std::vector<std::string> tokens) {
      for (const Decoder& part : parts) tokens = part(std::move(tokens));
      return tokens;
    };
  }
  if (type == "ByteLevel") return decode_byte_level;
  if (type == "ByteFallback") return decode_byte_fallback;
  if (type == "Fuse")
    return [](std::vector<std::string> tokens) {
      std::string all;
      for (const std::string& token : tokens) all += token;
      return std::vector<std::string>{all};
    };
  if (type == "Replace") {
    Regex regex = pattern_of(json, origin);
    std::string content = text_field(json, "content", origin);
    return [=](std::vector<std::string> tokens) {
      for (std::string& token : tokens) token = replace_all(token, regex, content, origin);
      return tokens;
    };
  }
  if (type == "Strip") return strip_decoder(json, origin);
  if (type == "Metaspace") return metaspace_decoder(json);
  fail_input("{}: decoder {} is not supported", origin, printable(type));
}

SpecialFrame make_special_frame(const Json& json, const std::string& origin) {
  SpecialFrame frame;
  if (json.is_null()) return frame;
  std::string type = type_of(json, origin, "post_processor");
  if (type == "ByteLevel") return frame;
  if (type == "Sequence") {
    for (const Json& part : list_field(json, "processors", origin)) {
      SpecialFrame inner = make_special_frame(part, origin);
      frame.before.insert(frame.before.begin(), inner.before.begin(), inner.before.end());
      frame.after.insert(frame.after.end(), inner.after.begin(), inner.after.end());
    }
    return frame;
  }
  auto id_of = [&](const Json& value) {
    if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > INT32_MAX)
      fail_input("{}: post_processor {} holds {}, expected an id", origin, type, printable(value.dump(), 40));
    return value.get<TokenId>();
  };
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const char* key : {"cls", "sep"})
      if (!json.contains(key) || !json[key].is_array() || json[key].size() != 2)
        fail_input("{}: {} needs \"{}\": [token, id]", origin, type, key);
    frame.before.push_back(id_of(json["cls"][1]));
    frame.after.push_back(id_of(json["sep"][1]));
    return frame;
  }
  if (type == "TemplateProcessing") {
    if (!json.contains("single") || !json["single"].is_array())
      fail_input("{}: TemplateProcessing has no \"single\"", origin);
    bool behind = false;
    for (const Json& part : json["single"]) {
      if (part.contains("Sequence")) {
        behind = true;
        continue;
      }
      if (!part.contains("SpecialToken") || !part["SpecialToken"].value("id", Json()).is_string())
        fail_input("{}: TemplateProcessing holds {}", origin, printable(part.dump(), 60));
      std::string name = part["SpecialToken"]["id"];
      if (!json.contains("special_tokens") || !json["special_tokens"].contains(name) ||
          !json["special_tokens"][name].contains("ids"))
        fail_input("{}: TemplateProcessing names \"{}\", which special_tokens lacks", origin,
                   printable(name));
      for (const Json& id : json["special_tokens"][name]["ids"])
        (behind ? frame.after : frame.before).push_back(id_of(id));
    }
    return frame;
  }
  fail_input("{}: post_processor {} is not supported", origin, printable(type));
}

}  // namespace fettle
