#include "fettle/base/terminal.h"

#include <gtest/gtest.h>

#include "fettle/base/utf8.h"

namespace fettle {
namespace {

TEST(Utf8, DecodesAndRefuses) {
  const std::string text = "a\u00e9\u6df1\U0001F600";
  std::vector<char32_t> codes;
  for (size_t position = 0; position < text.size();) codes.push_back(next_code_point(text, position));
  EXPECT_EQ(codes, (std::vector<char32_t>{'a', 0xE9, 0x6DF1, 0x1F600}));
  EXPECT_EQ(first_invalid_utf8(text), std::string::npos);
  // Lone continuation, cut, overlong, surrogate, above U+10FFFF.
  for (const char* bad :
       {"\x80", "\xe6\xb7", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"})
    EXPECT_EQ(first_invalid_utf8(std::string("ok") + bad), 2u);
}

TEST(Terminal, WidthCountsColumns) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("深度学习"), 8);
  EXPECT_EQ(display_width("ｆｕｌｌ"), 8);
  EXPECT_EQ(display_width("한국어"), 6);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("😀"), 2);
  EXPECT_EQ(display_width("…·█"), 3);
  EXPECT_EQ(display_width("\x1b[31mred\x1b[0m"), 3);
  EXPECT_EQ(display_width(""), 0);
}

TEST(Terminal, FitNeverCutsACharacter) {
  EXPECT_EQ(fit_to_width("abcdef", 6), "abcdef");
  EXPECT_EQ(fit_to_width("abcdef", 5), "abcd…");
  EXPECT_EQ(fit_to_width("深度学习", 6), "深度…");
  EXPECT_EQ(fit_to_width("深度学习", 5), "深度…");
  EXPECT_EQ(fit_to_width("深", 1), "…");
  EXPECT_EQ(fit_to_width("abc", 0), "");
}

TEST(Terminal, WrapBreaksAtSpaces) {
  EXPECT_EQ(wrap_text("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(wrap_text("a\nb", 10), "a\nb");
  EXPECT_EQ(wrap_text("unbreakable", 4), "unbreakable");
  EXPECT_EQ(wrap_text("", 10), "");
}

TEST(Terminal, TableAlignsWideText) {
  Table table({"name", "size"}, {Align::kLeft, Align::kRight});
  table.add_row({"深度", "1"});
  table.add_row({"abc", "1000"});
  EXPECT_EQ(table.text(), "name  size\n深度     1\nabc   1000\n");
  EXPECT_EQ(Table({}).text(), "");
}

TEST(Terminal, TableCutsTheLastColumn) {
  Table table({});
  table.add_row({"key", "a long text that does not fit"});
  EXPECT_EQ(table.text(20), "key  a long text th…\n");
}

TEST(Terminal, Figures) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(12'345'678), "12.3 MB");
  EXPECT_EQ(format_bytes(999'999'999), "1.00 GB");
  EXPECT_EQ(format_duration(7), "0:07");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_count(8798208), "8,798,208");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(12), "12");
}

}  // namespace
}  // namespace fettle
