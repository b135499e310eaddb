#include "fettle/text/post_processor.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"

namespace fettle {

std::vector<PostProcessor::Part> PostProcessor::read_template(const Json& json, const char* key,
                                                              const std::string& origin) {
  std::vector<Part> parts;
  auto type_id = [&](const Json& part) {
    return part.contains("type_id") ? id_value(part["type_id"], "type_id", origin) : 0;
  };
  if (!json.contains(key) || !json[key].is_array())
    fail_input("{}: TemplateProcessing has no list \"{}\"", origin, key);
  for (const Json& part : json[key]) {
    const bool sequence = part.is_object() && part.contains("Sequence") && part["Sequence"].is_object();
    const bool special =
        part.is_object() && part.contains("SpecialToken") && part["SpecialToken"].is_object();
    const Json& body = sequence ? part["Sequence"] : special ? part["SpecialToken"] : part;
    if ((!sequence && !special) || !body.contains("id") || !body["id"].is_string())
      fail_input("{}: TemplateProcessing holds {}", origin, printable(part.dump(), 60));
    std::string id = body["id"];
    if (sequence) {
      if (id != "A" && id != "B")
        fail_input("{}: TemplateProcessing names sequence {}", origin, printable(id));
      parts.push_back({id == "A" ? Part::Kind::kFirst : Part::Kind::kSecond, type_id(body), {}});
      continue;
    }
    if (!json.contains("special_tokens") || !json["special_tokens"].is_object() ||
        !json["special_tokens"].contains(id) || !json["special_tokens"][id].is_object() ||
        !json["special_tokens"][id].contains("ids") || !json["special_tokens"][id]["ids"].is_array())
      fail_input("{}: TemplateProcessing names \"{}\", which special_tokens lacks", origin, printable(id));
    Part added{Part::Kind::kSpecial, type_id(body), {}};
    for (const Json& value : json["special_tokens"][id]["ids"])
      added.ids.push_back(id_value(value, "an id of " + printable(id), origin));
    parts.push_back(std::move(added));
  }
  return parts;
}

PostProcessor PostProcessor::make(const Json& json, const std::string& origin) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  using Kind = Part::Kind;
  std::string type = type_of(json, origin, "post_processor");
  if (type == "ByteLevel") return processor;
  if (type == "Sequence") {
    for (const Json& part : list_field(json, "processors", origin)) {
      PostProcessor inner = make(part, origin);
      if (!inner.frames_) continue;
      if (processor.frames_) fail_input("{}: two components of the Sequence add special tokens", origin);
      processor = std::move(inner);
    }
    return processor;
  }
  processor.frames_ = true;
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const char* key : {"cls", "sep"})
      if (!json.contains(key) || !json[key].is_array() || json[key].size() != 2)
        fail_input("{}: {} needs \"{}\": [token, id]", origin, type, key);
    std::vector<TokenId> cls = {id_value(json["cls"][1], "cls", origin)};
    std::vector<TokenId> sep = {id_value(json["sep"][1], "sep", origin)};
    processor.single_ = {{Kind::kSpecial, 0, cls}, {Kind::kFirst, 0, {}}, {Kind::kSpecial, 0, sep}};
    processor.pair_ = processor.single_;
    bool roberta = type == "RobertaProcessing";
    if (roberta) processor.pair_.push_back({Kind::kSpecial, 0, sep});
    processor.pair_.push_back({Kind::kSecond, roberta ? 0 : 1, {}});
    processor.pair_.push_back({Kind::kSpecial, roberta ? 0 : 1, sep});
    return processor;
  }
  if (type == "TemplateProcessing") {
    processor.single_ = read_template(json, "single", origin);
    if (json.contains("pair") && !json["pair"].is_null())
      processor.pair_ = read_template(json, "pair", origin);
    return processor;
  }
  fail_input("{}: post_processor {} is not supported", origin, printable(type));
}

PostProcessor PostProcessor::frame(std::optional<TokenId> bos, std::optional<TokenId> eos) {
  PostProcessor processor;
  processor.frames_ = true;
  std::vector<Part> pair;
  for (int32_t type = 0; type < 2; ++type) {
    if (bos) pair.push_back({Part::Kind::kSpecial, type, {*bos}});
    pair.push_back({type ? Part::Kind::kSecond : Part::Kind::kFirst, type, {}});
    if (eos) pair.push_back({Part::Kind::kSpecial, type, {*eos}});
    if (type == 0) processor.single_ = pair;
  }
  processor.pair_ = std::move(pair);
  return processor;
}

Encoding PostProcessor::build(const std::vector<Part>& parts, const std::vector<TokenId>& first,
                              const std::vector<TokenId>& second) const {
  Encoding out;
  for (const Part& part : parts) {
    const std::vector<TokenId>& ids = part.kind == Part::Kind::kSpecial ? part.ids
                                      : part.kind == Part::Kind::kFirst ? first
                                                                        : second;
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.type_ids.insert(out.type_ids.end(), ids.size(), part.type_id);
    out.special_tokens_mask.insert(out.special_tokens_mask.end(), ids.size(),
                                   part.kind == Part::Kind::kSpecial);
  }
  return out;
}

Encoding PostProcessor::single(std::vector<TokenId> ids) const {
  return build(single_, ids, {});
}

Encoding PostProcessor::pair(std::vector<TokenId> first, std::vector<TokenId> second) const {
  return build(pair_, first, second);
}

size_t PostProcessor::extra(const std::vector<Part>& parts) {
  size_t count = 0;
  for (const Part& part : parts) count += part.ids.size();
  return count;
}

}  // namespace fettle
