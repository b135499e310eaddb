#include "fettle/data/personal_context.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "fettle/base/utf8.h"

namespace fettle {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool word(char c) {
  return digit(c) || upper(c) || lower(c) || c == '_';
}
char look(std::string_view text, size_t at) {
  return at < text.size() ? text[at] : ' ';
}

/// Length of the first of `words` that stands at `at`, 0 without any. Longer words come first.
template <typename Words>
size_t any_of_words(std::string_view text, size_t at, const Words& words) {
  if (at >= text.size()) return 0;
  for (std::string_view candidate : words)
    if (text.substr(at, candidate.size()) == candidate) return candidate.size();
  return 0;
}

/// The character at `at`, and `at` behind it; 0 at the end.
char32_t take(std::string_view text, size_t& at) {
  return at < text.size() ? next_code_point(text, at) : 0;
}

bool chinese(char32_t c) {
  return c >= 0x4E00 && c <= 0x9FFF;
}
bool one_of(char32_t c, std::u32string_view set) {
  return c != 0 && set.find(c) != set.npos;
}

// The hundred most frequent family names of mainland China and a few of Taiwan and Hong Kong; those that are
// also the usual word behind 我叫 (成, 车, 高 …) are left out.
constexpr std::u32string_view kFamilyNames =
    U"王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢"
    U"姜崔"
    U"钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤張劉陳楊黃"
    U"趙吳孫馬"
    U"許韓馮鄧蕭葉蘇魏盧鍾譚陸賈鄒龔嚴湯";
constexpr std::array<std::u32string_view, 10> kDoubleFamilyNames = {
    U"欧阳", U"歐陽", U"上官", U"司马", U"司徒", U"诸葛", U"夏侯", U"皇甫", U"尉迟", U"慕容"};
// What goes on after a name of two characters; a name with one of these as its third is cut short.
constexpr std::u32string_view kAfterName = U"的是今来在住，我有很也就从刚已正现毕岁与及或请电手男女这不";

size_t chinese_name(std::string_view text, size_t at, bool family_name_known) {
  size_t end = at, second = at;
  char32_t first = take(text, end);
  if (!chinese(first)) return 0;
  second = end;
  char32_t next = take(text, second);
  if (!chinese(next) || one_of(next, U"的是")) return 0;
  bool nickname = one_of(first, U"小阿老");
  bool twofold = std::any_of(kDoubleFamilyNames.begin(), kDoubleFamilyNames.end(),
                             [&](std::u32string_view name) { return name[0] == first && name[1] == next; });
  if (!family_name_known && !nickname && !twofold && !one_of(first, kFamilyNames)) return 0;
  end = second;
  for (int more = nickname ? 0 : twofold ? 2 : 1; more > 0; --more) {
    size_t behind = end;
    char32_t c = take(text, behind);
    if (!chinese(c) || one_of(c, kAfterName)) break;
    end = behind;
  }
  return end - at;
}

/// Up to three words with a capital, "Jane Q. Doe".
size_t english_name(std::string_view text, size_t at) {
  size_t end = at, last = at;
  for (int words = 0; words < 3; ++words) {
    if (!upper(look(text, end))) break;
    size_t begin = end++;
    while (end - begin < 30 && (lower(look(text, end)) || upper(look(text, end)) || look(text, end) == '\'' ||
                                (look(text, end) == '-' && upper(look(text, end + 1)))))
      ++end;
    bool initial = end - begin == 1 && words > 0 && look(text, end) == '.';
    if (end - begin < 2 && !initial) break;
    last = end + (initial ? 1 : 0);
    end = last;
    if (look(text, end) != ' ') break;
    ++end;
  }
  return last - at;
}

// 省 to 弄: one of these makes an address of words with a number.
constexpr std::u32string_view kPlaces = U"省市区區县縣镇鎮乡村路街道巷弄号號栋楼樓室";
constexpr std::u32string_view kEnd = U"。；;，,！!？?、\n\r\t\"“”（）()<>";

PersonalFind chinese_address(std::string_view text, size_t at, size_t skip) {
  constexpr int kMost = 60;
  size_t begin = at + skip;
  while (begin < text.size() && begin - at < skip + 8) {
    size_t behind = begin;
    char32_t c = take(text, behind);
    if (!one_of(c, U"：:是在为為 ")) break;
    begin = behind;
  }
  size_t end = begin;
  bool number = false;
  int places = 0;
  for (int n = 0; n < kMost; ++n) {
    size_t behind = end;
    char32_t c = take(text, behind);
    if (c == 0 || one_of(c, kEnd)) break;
    number = number || (c >= '0' && c <= '9') || (c >= 0xFF10 && c <= 0xFF19) ||
             one_of(c, U"一二三四五六七八九十");
    places += one_of(c, kPlaces);
    end = behind;
  }
  while (end > begin && text[end - 1] == ' ') --end;
  // "住在一楼" says less than a place with a number.
  return number && places >= 2 ? PersonalFind{begin - at, end - begin} : PersonalFind{};
}

PersonalFind english_address(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 20> kStreets = {
      "Boulevard", "Street", "Avenue", "Square", "Drive", "Place", "Court", "Road", "Lane", "Blvd",
      "Ave",       "Way",    "St",     "Rd",     "Ln",    "Dr",    "Ct",    "Pl",   "Sq",   "Terrace"};
  size_t end = at, digits = 0;
  while (digits < 6 && digit(look(text, end))) ++digits, ++end;
  if (digits == 0 || digits > 5 || look(text, end) != ' ') return {};
  for (int words = 0; words < 4; ++words) {
    size_t begin = ++end;
    if (size_t street = any_of_words(text, begin, kStreets);
        words > 0 && street > 0 && !word(look(text, begin + street)))
      return {0, begin + street - at};
    if (!upper(look(text, begin)) && !digit(look(text, begin))) return {};
    while (end - begin < 24 && word(look(text, end))) ++end;
    if (look(text, end) == '.') ++end;
    if (look(text, end) != ' ') return {};
  }
  size_t begin = ++end, street = any_of_words(text, begin, kStreets);
  return street > 0 && !word(look(text, begin + street)) ? PersonalFind{0, begin + street - at}
                                                         : PersonalFind{};
}

}  // namespace

PersonalFind name_at(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 6> kMyName = {"我的名字叫做", "我的名字叫", "我的名字是",
                                                              "我叫做",       "我叫",       "本人叫"};
  static constexpr std::array<std::string_view, 5> kName = {"姓名是", "姓名：", "姓名:", "联系人：",
                                                            "联系人:"};
  static constexpr std::array<std::string_view, 4> kEnglish = {"my name is ", "My name is ", "my name's ",
                                                               "My name's "};
  if (size_t skip = any_of_words(text, at, kMyName)) return {skip, chinese_name(text, at + skip, false)};
  if (size_t skip = any_of_words(text, at, kName)) {
    while (look(text, at + skip) == ' ' && at + skip < text.size()) ++skip;
    return {skip, chinese_name(text, at + skip, true)};
  }
  if (at == 0 || !word(text[at - 1]))
    if (size_t skip = any_of_words(text, at, kEnglish)) return {skip, english_name(text, at + skip)};
  return {};
}

PersonalFind address_at(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 4> kWords = {"地址", "住址", "家住", "住在"};
  if (size_t skip = any_of_words(text, at, kWords)) return chinese_address(text, at, skip);
  bool begins = digit(text[at]) && (at == 0 || !word(text[at - 1]));
  return begins ? english_address(text, at) : PersonalFind{};
}

PersonalFind account_at(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 7> kChat = {"微信",   "WeChat", "Wechat", "wechat",
                                                            "WECHAT", "VX",     "vx"};
  static constexpr std::array<std::string_view, 2> kNumber = {"QQ", "qq"};
  static constexpr std::array<std::string_view, 5> kMore = {"号码", "号", "群", "ID", "id"};
  if (at > 0 && word(text[at - 1]) && static_cast<unsigned char>(text[at]) < 0x80) return {};
  bool number = false;
  size_t end = at + any_of_words(text, at, kChat);
  if (end == at) {
    end += any_of_words(text, at, kNumber);
    number = true;
  }
  if (end == at) return {};
  size_t separator = end;
  while (look(text, end) == ' ' && end - at < 16) ++end;
  size_t more = any_of_words(text, end, kMore);
  end += more;
  bool said = more > 0;
  for (int n = 0; n < 4; ++n) {
    size_t behind = end;
    char32_t c = take(text, behind);
    if (!one_of(c, U"：:是为為 ")) break;
    said = said || c != ' ';
    end = behind;
  }
  size_t begin = end;
  if (number) {
    while (end - begin < 12 && digit(look(text, end))) ++end;
    bool good = end - begin >= 5 && end - begin <= 11 && text[begin] != '0' && !word(look(text, end));
    return good ? PersonalFind{begin - at, end - begin} : PersonalFind{};
  }
  // A letter first, 6 to 20 characters in all; a plain word only where the text says "account: word".
  if (begin == separator || !(upper(look(text, begin)) || lower(look(text, begin)))) return {};
  bool mixed = false;
  while (end - begin < 21 && (word(look(text, end)) || look(text, end) == '-')) {
    mixed = mixed || digit(text[end]) || text[end] == '_' || text[end] == '-';
    ++end;
  }
  bool good = end - begin >= 6 && end - begin <= 20 && (mixed || (more > 0 && said));
  return good ? PersonalFind{begin - at, end - begin} : PersonalFind{};
}

}  // namespace fettle
