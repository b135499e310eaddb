#include "fettle/text/decoder.h"

#include <cctype>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"
#include "fettle/text/matcher.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

using Tokens = std::vector<std::string>;

Tokens decode_byte_level(Tokens tokens) {
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
Tokens decode_byte_fallback(Tokens tokens) {
  Tokens out;
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

std::string replaced(const std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != text.npos; at = found + from.size()) {
    out.append(text, at, found - at);
    out += to;
  }
  return out.append(text, at);
}

Decoder replace_decoder(const Json& json, const std::string& origin) {
  std::shared_ptr<const Matcher> matcher = make_matcher(json, origin);
  std::string content = text_field(json, "content", origin);
  return [=](Tokens tokens) {
    for (std::string& token : tokens) {
      std::string out;
      size_t at = 0, begin, end;
      for (; at < token.size() && matcher->next(token, at, begin, end); at = end)
        out.append(token, at, begin - at).append(content);
      token = out.append(token, at);
    }
    return tokens;
  };
}

Decoder strip_decoder(const Json& json, const std::string& origin) {
  std::string content = text_field(json, "content", origin);
  int64_t start = count_field(json, "start", 0, origin), stop = count_field(json, "stop", 0, origin);
  return [=](Tokens tokens) {
    if (content.empty()) return tokens;
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start && token.starts_with(content); ++i) token.erase(0, content.size());
      for (int64_t i = 0; i < stop && token.ends_with(content); ++i)
        token.erase(token.size() - content.size());
    }
    return tokens;
  };
}

Decoder metaspace_decoder(const Json& json, const std::string& origin) {
  std::string replacement = json.contains("replacement") ? text_field(json, "replacement", origin) : "▁";
  if (replacement.empty()) fail_input("{}: Metaspace's replacement is empty", origin);
  bool prepended = prepend_scheme(json, origin) != "never";
  return [=](Tokens tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i == 0 && prepended && tokens[i].starts_with(replacement)) tokens[i].erase(0, replacement.size());
      tokens[i] = replaced(tokens[i], replacement, " ");
    }
    return tokens;
  };
}

// tokenizers/decoders/wordpiece.rs
Decoder word_piece_decoder(const Json& json, const std::string& origin) {
  std::string prefix = json.contains("prefix") ? text_field(json, "prefix", origin) : "##";
  bool cleanup = flag_field(json, "cleanup", true, origin);
  return [=](Tokens tokens) {
    static constexpr std::pair<std::string_view, std::string_view> kCleanup[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        if (!prefix.empty() && tokens[i].starts_with(prefix))
          tokens[i].erase(0, prefix.size());
        else
          tokens[i].insert(0, " ");
      }
      if (cleanup)
        for (const auto& [from, to] : kCleanup) tokens[i] = replaced(tokens[i], from, to);
    }
    return tokens;
  };
}

Decoder bpe_decoder(const Json& json, const std::string& origin) {
  std::string suffix = json.contains("suffix") ? text_field(json, "suffix", origin) : "</w>";
  if (suffix.empty()) fail_input("{}: BPEDecoder's suffix is empty", origin);
  return [suffix](Tokens tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replaced(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    return tokens;
  };
}

Decoder make(const Json& json, const std::string& origin, int depth) {
  std::string type = type_of(json, origin, "decoder");
  if (type == "Sequence") {
    if (depth > 32) fail_input("{}: Sequences are nested more than 32 deep", origin);
    std::vector<Decoder> parts;
    for (const Json& part : list_field(json, "decoders", origin))
      parts.push_back(make(part, origin, depth + 1));
    return [parts](Tokens tokens) {
      for (const Decoder& part : parts) tokens = part(std::move(tokens));
      return tokens;
    };
  }
  if (type == "ByteLevel") return decode_byte_level;
  if (type == "ByteFallback") return decode_byte_fallback;
  if (type == "Fuse")
    return [](Tokens tokens) {
      std::string all;
      for (const std::string& token : tokens) all += token;
      return Tokens{all};
    };
  if (type == "Replace") return replace_decoder(json, origin);
  if (type == "Strip") return strip_decoder(json, origin);
  if (type == "Metaspace") return metaspace_decoder(json, origin);
  if (type == "WordPiece") return word_piece_decoder(json, origin);
  if (type == "BPEDecoder") return bpe_decoder(json, origin);
  fail_input("{}: decoder {} is not supported", origin, printable(type));
}

}  // namespace

Decoder make_decoder(const Json& json, const std::string& origin) {
  if (!json.is_null()) return make(json, origin, 0);
  // Without a decoder `tokenizers` puts spaces between tokens.
  return [](Tokens tokens) {
    for (size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, " ");
    return tokens;
  };
}

}  // namespace fettle
