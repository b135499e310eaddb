// Personal data that only the words before it give away: names, addresses, accounts.
#pragma once
#include <cstddef>
#include <string_view>

namespace fettle {

/// A find: the words at the position that give it away (`skip` bytes, they stay) and the value behind them.
struct PersonalFind {
  size_t skip = 0, length = 0;  ///< bytes; length 0: nothing
};

// Each looks at a bounded number of characters from `at`, which begins a character of valid UTF-8.

/// "我叫李雷", "姓名：欧阳娜娜", "My name is Jane Doe". After 我叫 a family name must follow.
PersonalFind name_at(std::string_view text, size_t at);
/// "地址：…路88号", "家住…", up to the next punctuation mark, when it has a number and a word such as 路 or
/// 区; "221 Baker Street".
PersonalFind address_at(std::string_view text, size_t at);
/// "微信号：abc_123", "QQ：12345678", "WeChat ID: abc_123".
PersonalFind account_at(std::string_view text, size_t at);

}  // namespace fettle
