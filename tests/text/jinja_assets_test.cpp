// Every real template of the asset folder, against the text that Transformers rendered.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/jinja/jinja.h"
#include "support.h"

namespace fettle {
namespace {

jinja::RenderOptions frozen_clock() {
  jinja::RenderOptions options;
  options.clock = [] {
    std::tm time{};
    time.tm_year = 124, time.tm_mon = 6, time.tm_mday = 26, time.tm_hour = 12, time.tm_wday = 5,
    time.tm_yday = 207;
    return time;
  };
  return options;
}

std::vector<OrderedJson> read_lines(const std::filesystem::path& path) {
  std::vector<OrderedJson> out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) out.push_back(parse_ordered_json(line, path.string()));
  return out;
}

jinja::Value context_of(OrderedJson kwargs) {
  for (const char* name : {"tools", "documents"})
    if (!kwargs.contains(name)) kwargs[name] = nullptr;
  return jinja::Value::from_json(kwargs);
}

TEST(JinjaAssets, RendersEveryTemplateAsTransformers) {
  FETTLE_REQUIRE_ASSETS();
  std::filesystem::path folder = test::assets_dir() / "templates";
  std::map<std::string, jinja::Template> templates;
  int cases = 0;
  for (const OrderedJson& row : read_lines(folder / "renders.jsonl")) {
    std::string name = row["template"];
    SCOPED_TRACE(name + " / " + row["case"].get<std::string>());
    auto it = templates.find(name);
    if (it == templates.end())
      it = templates.emplace(name, jinja::Template(test::read_text(folder / name), name)).first;
    ++cases;
    if (row.contains("error")) {
      EXPECT_THROW(it->second.render(context_of(row["kwargs"]), frozen_clock()), Error);
      continue;
    }
    try {
      jinja::Rendered rendered = it->second.render(context_of(row["kwargs"]), frozen_clock());
      EXPECT_EQ(rendered.text, row["expected"].get<std::string>());
      if (!row.contains("generation_spans_chars")) continue;
      OrderedJson spans = OrderedJson::array();
      for (const auto& span : rendered.generation) spans.push_back({span.begin_char, span.end_char});
      EXPECT_EQ(spans, row["generation_spans_chars"]);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GT(cases, 0);
}

TEST(JinjaAssets, RendersTokenizerTemplates) {
  FETTLE_REQUIRE_ASSETS();
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::assets_dir() / "tokenizers")) {
    if (!std::filesystem::exists(entry.path() / "chat_vectors.jsonl")) continue;
    OrderedJson config =
        parse_ordered_json(test::read_text(entry.path() / "tokenizer_config.json"), "config");
    jinja::Template chat(config["chat_template"].get<std::string>());
    for (const OrderedJson& row : read_lines(entry.path() / "chat_vectors.jsonl")) {
      SCOPED_TRACE(entry.path().filename().string() + " / " + row["case"].get<std::string>());
      OrderedJson kwargs = row["kwargs"];
      for (const char* token : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
        if (kwargs.contains(token) || !config.contains(token) || config[token].is_null()) continue;
        kwargs[token] = config[token].is_object() ? config[token]["content"] : config[token];
      }
      ++cases;
      EXPECT_EQ(chat.render(context_of(kwargs), frozen_clock()).text, row["text"].get<std::string>());
    }
  }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace fettle
