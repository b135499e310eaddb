// Every feature of the template language, against answers of Transformers' own environment
// (tools/golden/jinja_cases.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/jinja/jinja.h"
#include "support.h"

namespace fettle {
namespace {

TEST(JinjaCases, EqualTransformers) {
  std::istringstream lines(test::read_text(test::golden_dir() / "text" / "jinja_cases.jsonl"));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  jinja::Value data = jinja::Value::from_json(parse_ordered_json(line, "cases")["data"]);
  jinja::RenderOptions options;
  options.clock = [] {
    std::tm time{};
    time.tm_year = 124, time.tm_mon = 6, time.tm_mday = 26, time.tm_wday = 5, time.tm_yday = 207;
    time.tm_hour = 12, time.tm_min = 34, time.tm_sec = 56;
    return time;
  };
  int cases = 0;
  while (std::getline(lines, line)) {
    OrderedJson row = parse_ordered_json(line, "cases");
    std::string source = row["template"];
    SCOPED_TRACE(source);
    ++cases;
    if (row.contains("error")) {
      EXPECT_THROW(jinja::Template(source).render(data, options), Error) << row["error"];
      continue;
    }
    try {
      jinja::Rendered rendered = jinja::Template(source).render(data, options);
      EXPECT_EQ(rendered.text, row["expected"].get<std::string>());
      OrderedJson spans = OrderedJson::array();
      for (const auto& span : rendered.generation) spans.push_back({span.begin_char, span.end_char});
      EXPECT_EQ(spans, row.contains("spans") ? row["spans"] : OrderedJson::array());
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GT(cases, 200);
}

}  // namespace
}  // namespace fettle
