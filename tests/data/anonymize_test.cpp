#include "fettle/data/anonymize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

std::string masked(const std::string& text) {
  std::array<int64_t, kPersonalDataKinds> found{};
  return anonymize_text(text, found);
}

TEST(Anonymize, WhatIsMasked) {
  // Numbers made for tests: a valid check digit, a card of a test series, addresses of documentation ranges.
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"写信给 li.wei+1@mail.example.com。", "写信给 [EMAIL]。"},
           {"a_b@example.org, x", "[EMAIL], x"},
           {"身份证11010519491231002X号", "身份证[ID]号"},
           {"SSN 123-45-6789.", "SSN [ID]."},
           {"卡号4111 1111 1111 1111", "卡号[CARD]"},
           {"card 4111-1111-1111-1111!", "card [CARD]!"},
           {"手机13800138000，", "手机[PHONE]，"},
           {"138-0013-8000", "[PHONE]"},
           {"+86 138 0013 8000", "[PHONE]"},
           {"座机010-12345678", "座机[PHONE]"},
           {"(555) 010-0123 or 555-010-0123", "[PHONE] or [PHONE]"},
           {"+44 20 7946 0958", "[PHONE]"},
           {"host 192.0.2.17.", "host [IP]."}})
    EXPECT_EQ(masked(text), expected);
}

TEST(Anonymize, WhatIsNot) {
  for (const char* text :
       {"", "3.14159265358979", "2024-07-26 12:00", "1+1=2", "a@b", "@handle", "x@y.", "version 1.2.3.4.5",
        "11010519491231002Y", "110105194912310021", "4111111111111112", "12800138000", "138001380001",
        "id_13800138000", "300.1.1.1", "10000000000000000", "f(13, 800)", "1949-12-31", "e@1.2"})
    EXPECT_EQ(masked(text), text);
}

TEST(Anonymize, Files) {
  test::TempDir dir;
  test::write_text(
      dir / "in.jsonl",
      "{\"instruction\":\"call "
      "13800138000\",\"output\":[\"a@example.com\",{\"phone\":13900139000}]}\n{\"instruction\":\"hi\"}\n");
  PersonalDataCounts counts = anonymize_dataset(dir / "in.jsonl", dir / "out.jsonl");
  EXPECT_EQ(counts.rows, 2);
  EXPECT_EQ(counts.rows_with, 1);
  EXPECT_EQ(counts.total(), 3);
  EXPECT_EQ(counts.found[static_cast<size_t>(PersonalData::kPhone)], 2);
  EXPECT_EQ(test::read_text(dir / "out.jsonl"),
            "{\"instruction\":\"call "
            "[PHONE]\",\"output\":[\"[EMAIL]\",{\"phone\":\"[PHONE]\"}]}\n{\"instruction\":\"hi\"}\n");
  EXPECT_EQ(count_personal_data(dir / "in.jsonl").total(), 3);
  EXPECT_EQ(count_personal_data(dir / "out.jsonl").total(), 0);
  EXPECT_THROW(anonymize_dataset(dir / "in.jsonl", dir / "in.jsonl"), Error);
}

TEST(Anonymize, LongRunsTakeLinearTime) {
  for (char c : {'1', 'a', '.', '@', '+', '-', '('}) {
    std::string text(4 << 20, c);
    EXPECT_EQ(masked(text).size(), text.size());
  }
}

}  // namespace
}  // namespace fettle
