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
           {"1. +4420794609", "1. [PHONE]"},
           {"2 +86 138 0013 8000 +8613900139000", "2 [PHONE] [PHONE]"},
           {"host 192.0.2.17.", "host [IP]."}})
    EXPECT_EQ(masked(text), expected);
}

TEST(Anonymize, WhatIsNot) {
  for (const char* text : {"",
                           "3.14159265358979",
                           "2024-07-26 12:00",
                           "1+1=2",
                           "a@b",
                           "@handle",
                           "x@y.",
                           "version 1.2.3.4.5",
                           "11010519491231002Y",
                           "110105194912310021",
                           "4111111111111112",
                           "12800138000",
                           "138001380001",
                           "id_13800138000",
                           "300.1.1.1",
                           "10000000000000000",
                           "f(13, 800)",
                           "1949-12-31",
                           "e@1.2",
                           "275.4111111111111111",
                           "472547338 +487851046 = x",
                           "1\n+487851046",
                           "0.13800138000"})
    EXPECT_EQ(masked(text), text);
}

TEST(Anonymize, WhatTheWordsBeforeGiveAway) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"你好，我叫李雷，今年30岁", "你好，我叫[NAME]，今年30岁"},
           {"我叫张小明", "我叫[NAME]"},
           {"我叫李明今年三十", "我叫[NAME]今年三十"},
           {"我的名字叫欧阳娜娜。", "我的名字叫[NAME]。"},
           {"我叫小红", "我叫[NAME]"},
           {"姓名：高飞 性别：男", "姓名：[NAME] 性别：男"},
           {"Hello, my name is Jane Q. Doe and I", "Hello, my name is [NAME] and I"},
           {"My name is Bob.", "My name is [NAME]."},
           {"地址：北京市朝阳区建国路88号，邮编", "地址：[ADDRESS]，邮编"},
           {"我家住在上海市徐汇区漕溪北路一号2栋", "我家住在[ADDRESS]"},
           {"I live at 221 Baker Street, London", "I live at [ADDRESS], London"},
           {"at 12 West 5th Ave.", "at [ADDRESS]."},
           {"加我微信号：abc_123，谢谢", "加我微信号：[ACCOUNT]，谢谢"},
           {"微信 abc123de", "微信 [ACCOUNT]"},
           {"我的QQ是123456789", "我的QQ是[ACCOUNT]"},
           {"QQ群：87654321", "QQ群：[ACCOUNT]"},
           {"WeChat ID: li_lei88", "WeChat ID: [ACCOUNT]"},
           {"微信：13800138000", "微信：[PHONE]"},
           {"家住10.0.0.1", "家住[IP]"}})
    EXPECT_EQ(masked(text), expected);
}

TEST(Anonymize, WordsThatGiveNothingAway) {
  for (const char* text : {"我叫他过来",
                           "我叫了外卖",
                           "我叫",
                           "我叫什么名字",
                           "姓名：",
                           "my name is not important",
                           "my name is ",
                           "住在这里很好",
                           "住在一楼",
                           "邮箱地址：请填写",
                           "地址",
                           "微信支付很方便",
                           "微信：好友",
                           "QQ音乐",
                           "QQ 1234",
                           "WeChat is popular",
                           "wechat: download",
                           "5 Great Things To Do",
                           "in 1949 the Street",
                           "3 apples",
                           "我的名字是你起的"})
    EXPECT_EQ(masked(text), text);
}

TEST(Anonymize, RulesCanBeLeftOut) {
  std::array<int64_t, kPersonalDataKinds> found{};
  EXPECT_EQ(anonymize_text("我叫李雷，13800138000", found, personal_data_rules_without({"phone"})),
            "我叫[NAME]，13800138000");
  EXPECT_EQ(found[static_cast<size_t>(PersonalData::kPhone)], 0);
  EXPECT_THROW(personal_data_rules_without({"fone"}), Error);
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
  EXPECT_EQ(anonymize_dataset(dir / "out.jsonl", dir / "again.jsonl").total(), 0);
  EXPECT_EQ(test::read_text(dir / "again.jsonl"), test::read_text(dir / "out.jsonl"));
  EXPECT_THROW(anonymize_dataset(dir / "in.jsonl", dir / "in.jsonl"), Error);
}

TEST(Anonymize, LongRunsTakeLinearTime) {
  for (std::string unit :
       {"1", "a", ".", "@", "+", "-", "(", "我叫", "地址", "微信", "QQ", "my name is ", "1 A"}) {
    std::string text;
    while (text.size() < 1 << 20) text += unit;
    EXPECT_EQ(masked(text).size(), text.size()) << unit;
  }
}

}  // namespace
}  // namespace fettle
