// The rows that docs/data.md shows are of the form it says, and train as it says.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/forms/forms.h"
#include "fettle/data/reader.h"
#include "support.h"

namespace fettle {
namespace {

struct GuideExample {
  std::string title, rows;
};

std::vector<GuideExample> guide_examples() {
  std::ifstream guide(test::source_dir() / "docs" / "data.md");
  std::vector<GuideExample> examples;
  std::string line, title;
  bool in_section = false, in_block = false;
  while (std::getline(guide, line)) {
    if (line.starts_with("## ")) in_section = line == "## Every form by example";
    if (!in_section) continue;
    if (line.starts_with("```")) {
      in_block = !in_block;
      if (in_block) examples.push_back({title, ""});
    } else if (in_block) {
      examples.back().rows += line + "\n";
    } else if (!line.empty()) {
      title = line.substr(0, line.find_first_of(";,:"));
    }
  }
  return examples;
}

TEST(Guide, ExamplesAreOfTheirForm) {
  std::set<std::string> shown;
  for (const GuideExample& example : guide_examples()) {
    SCOPED_TRACE(example.title);
    shown.insert(example.title);
    test::TempDir dir;
    test::write_text(dir / "x.json", example.rows);
    DatasetEntry entry = find_dataset(dir.path(), "x.json");
    std::vector<Record> records = read_records(dir / "x.json");
    ASSERT_FALSE(records.empty());
    Form form = detect_form(entry, records[0]);
    EXPECT_EQ(form_name(form), example.title);

    DatasetRequest request;
    request.datasets = {(dir / "x.json").string()};
    request.tokenizer = std::make_shared<test::ByteTokenizer>();
    request.chat = std::make_shared<test::PlainTemplate>();
    request.vocab_size = 266;
    request.stage = form == Form::kText ? "pt" : "sft";
    if (form == Form::kPreference || form == Form::kLabelled) {
      EXPECT_THROW(load_dataset(request), Error);
    } else {
      Dataset data = load_dataset(request);
      EXPECT_EQ(data.dropped, 0);
      EXPECT_EQ(data.rows_read, static_cast<int64_t>(records.size()));
    }
  }
  // Every form but the user's own pattern, which has its own section.
  EXPECT_EQ(shown.size(), static_cast<size_t>(Form::kPattern));
}

}  // namespace
}  // namespace fettle
