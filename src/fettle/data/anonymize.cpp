#include "fettle/data/anonymize.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/data/personal_context.h"
#include "fettle/data/reader.h"
#include "fettle/data/record_writer.h"

namespace fettle {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool word(char c) {
  return digit(c) || letter(c) || c == '_';
}
/// The character at `at`, a blank outside.
char look(std::string_view text, size_t at) {
  return at < text.size() ? text[at] : ' ';
}

// Each rule: the length of a find that begins at `at`, or 0. All look at a bounded number of characters.

// The local part may be 64 characters, a host 253 (RFC 5321).
size_t email_at(std::string_view text, size_t at) {
  auto local = [](char c) { return word(c) || c == '.' || c == '+' || c == '-' || c == '%'; };
  if (!word(text[at]) || (at > 0 && local(text[at - 1]))) return 0;
  size_t end = at;
  while (end - at < 64 && local(look(text, end))) ++end;
  if (look(text, end) != '@') return 0;
  size_t host = ++end, dot = 0;
  while (end - host < 253) {
    char c = look(text, end);
    if (c == '.' && word(look(text, end + 1)))
      dot = end;
    else if (!digit(c) && !letter(c) && c != '-')
      break;
    ++end;
  }
  bool good = dot > host && end - dot >= 3 && letter(look(text, dot + 1));
  return good ? end - at : 0;
}

bool chinese_id(std::string_view id) {
  static constexpr int weights[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  static constexpr std::string_view checks = "10X98765432";
  auto number = [&](size_t from, size_t count) {
    int value = 0;
    for (size_t i = from; i < from + count; ++i) value = value * 10 + (id[i] - '0');
    return value;
  };
  int year = number(6, 4), month = number(10, 2), day = number(12, 2), sum = 0;
  if (year < 1850 || year > 2150 || month < 1 || month > 12 || day < 1 || day > 31) return false;
  for (size_t i = 0; i < 17; ++i) sum += (id[i] - '0') * weights[i];
  char last = id[17] == 'x' ? 'X' : id[17];
  return checks[static_cast<size_t>(sum % 11)] == last;
}

size_t digits_from(std::string_view text, size_t at, size_t most) {
  size_t n = 0;
  while (n < most && digit(look(text, at + n))) ++n;
  return n;
}

/// Matches a pattern of 9 (a digit) and other characters (themselves) that no digit or letter continues.
bool fits(std::string_view text, size_t at, std::string_view pattern) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = look(text, at + i);
    if (pattern[i] == '9' ? !digit(c) : c != pattern[i]) return false;
  }
  return !word(look(text, at + pattern.size()));
}

// The digits behind a decimal point are none.
bool starts_number(std::string_view text, size_t at) {
  bool decimals = at > 1 && text[at - 1] == '.' && digit(text[at - 2]);
  return at == 0 || (!word(text[at - 1]) && !decimals);
}

/// Whether a number stands before `at`, apart from a little white space: then a plus may be a sum.
bool behind_number(std::string_view text, size_t at) {
  for (size_t i = at; i > 0 && at - i < 4; --i) {
    char c = text[i - 1];
    if (c != ' ' && c != '\n' && c != '\t') return digit(c);
  }
  return false;
}

size_t id_number_at(std::string_view text, size_t at) {
  if (!starts_number(text, at)) return 0;
  if (fits(text, at, "999-99-9999") && look(text, at + 11) != '-') return 11;
  if (digits_from(text, at, 19) < 17) return 0;
  char last = look(text, at + 17);
  if (!(digit(last) || last == 'x' || last == 'X') || word(look(text, at + 18))) return 0;
  return chinese_id(text.substr(at, 18)) ? 18 : 0;
}

size_t bank_card_at(std::string_view text, size_t at) {
  if (!starts_number(text, at) || text[at] < '3' || text[at] > '6') return 0;
  std::string digits;
  size_t end = at, last = at;
  while (digits.size() < 20) {
    char c = look(text, end);
    if (digit(c)) {
      digits += c;
      last = ++end;
    } else if ((c == ' ' || c == '-') && digits.size() % 4 == 0 && digit(look(text, end + 1))) {
      ++end;
    } else {
      break;
    }
  }
  if (digits.size() < 13 || digits.size() > 19 || word(look(text, last))) return 0;
  int sum = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    int value = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1) value = value * 2 > 9 ? value * 2 - 9 : value * 2;
    sum += value;
  }
  return sum % 10 == 0 ? last - at : 0;
}

size_t phone_at(std::string_view text, size_t at) {
  char c = text[at];
  if (c == '+' && at + 1 < text.size() && (at == 0 || !word(text[at - 1]))) {
    // +country, then 7 to 15 digits in all with single separators (E.164).
    size_t end = at + 1, last = end, count = 0;
    while (end - at < 24) {
      char next = look(text, end);
      if (digit(next)) {
        ++count;
        last = ++end;
      } else if ((next == ' ' || next == '-') && digit(look(text, end + 1))) {
        ++end;
      } else {
        break;
      }
    }
    bool grouped = last - at > count + 1, mobile = text.substr(at, 4) == "+861" && count == 13;
    if (!grouped && !mobile && behind_number(text, at)) return 0;
    return count >= 8 && count <= 15 && !word(look(text, last)) ? last - at : 0;
  }
  if (!digit(c) && c != '(') return 0;
  if (!starts_number(text, at)) return 0;
  if (c == '1' && look(text, at + 1) >= '3' && look(text, at + 1) <= '9')
    for (std::string_view pattern : {"99999999999", "999-9999-9999", "999 9999 9999"})
      if (fits(text, at, pattern)) return pattern.size();
  if (c == '0')
    for (std::string_view pattern : {"099-99999999", "099-9999999", "0999-99999999", "0999-9999999"})
      if (fits(text, at, pattern)) return pattern.size();
  for (std::string_view pattern : {"999-999-9999", "(999) 999-9999", "999.999.9999"})
    if (fits(text, at, pattern)) return pattern.size();
  return 0;
}

size_t ip_address_at(std::string_view text, size_t at) {
  if (!digit(text[at]) || !starts_number(text, at) || (at > 0 && text[at - 1] == '.')) return 0;
  size_t end = at;
  for (int part = 0; part < 4; ++part) {
    size_t count = digits_from(text, end, 4);
    if (count == 0 || count > 3) return 0;
    int value = 0;
    for (size_t i = 0; i < count; ++i) value = value * 10 + (text[end + i] - '0');
    if (value > 255) return 0;
    end += count;
    if (part < 3 && look(text, end++) != '.') return 0;
  }
  bool goes_on = word(look(text, end)) || (look(text, end) == '.' && digit(look(text, end + 1)));
  return goes_on ? 0 : end - at;
}

/// A rule whose find begins where it looks.
template <size_t (*kLength)(std::string_view, size_t)>
PersonalFind bare(std::string_view text, size_t at) {
  return {0, kLength(text, at)};
}

struct Rule {
  PersonalFind (*find)(std::string_view, size_t);
  const char* key;
  const char* name;
  const char* mask;
  const char* what;
};
constexpr Rule kRules[kPersonalDataKinds] = {
    {bare<email_at>, "email", "e-mail addresses", "[EMAIL]", "name@host.tld"},
    {bare<id_number_at>, "id", "identity numbers", "[ID]",
     "身份证号: 18 places with a birth date and a valid check digit; US social security numbers 123-45-6789"},
    {bare<bank_card_at>, "card", "bank cards", "[CARD]",
     "13 to 19 digits, perhaps in groups, with a valid Luhn digit"},
    {bare<phone_at>, "phone", "phone numbers", "[PHONE]",
     "手机 1[3-9]… of 11 digits, 座机 0xx-xxxxxxx; North American with separators; +country numbers"},
    {bare<ip_address_at>, "ip", "IP addresses", "[IP]", "four numbers to 255"},
    {account_at, "account", "accounts", "[ACCOUNT]", "behind 微信(号), WeChat, VX, QQ(号/群)"},
    {name_at, "name", "names", "[NAME]", "behind 我叫, 我的名字是, 姓名：, 联系人：, my name is"},
    {address_at, "address", "addresses", "[ADDRESS]",
     "behind 地址, 住址, 家住, 住在, with a number and words such as 路 or 区; 221 Baker Street"}};

}  // namespace

const char* personal_data_name(PersonalData kind) {
  return kRules[static_cast<size_t>(kind)].name;
}

const char* personal_data_key(PersonalData kind) {
  return kRules[static_cast<size_t>(kind)].key;
}

int64_t PersonalDataCounts::total() const {
  return std::accumulate(found.begin(), found.end(), int64_t{0});
}

const char* personal_data_mask(PersonalData kind) {
  return kRules[static_cast<size_t>(kind)].mask;
}

const char* personal_data_rule(PersonalData kind) {
  return kRules[static_cast<size_t>(kind)].what;
}

PersonalDataRules personal_data_rules_without(const std::vector<std::string>& keys) {
  PersonalDataRules rules = kAllPersonalData;
  std::vector<std::string> known;
  for (const Rule& rule : kRules) known.emplace_back(rule.key);
  for (const std::string& key : keys) {
    auto found = std::find(known.begin(), known.end(), key);
    if (found == known.end())
      fail_usage("there is no rule \"{}\"; the rules are {}", printable(key), fmt::join(known, ", "));
    rules &= ~(1u << (found - known.begin()));
  }
  return rules;
}

std::string anonymize_text(std::string_view text, std::array<int64_t, kPersonalDataKinds>& found,
                           PersonalDataRules rules) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    PersonalFind find;
    char c = text[at];
    bool begins = word(c) || c == '+' || c == '(' || static_cast<unsigned char>(c) >= 0xC0;
    for (size_t rule = 0; begins && rule < kPersonalDataKinds && find.length == 0; ++rule) {
      if (!(rules >> rule & 1)) continue;
      find = kRules[rule].find(text, at);
      if (find.length == 0) continue;
      out += text.substr(at, find.skip);
      out += kRules[rule].mask;
      ++found[rule];
    }
    if (find.length == 0) {
      out += c;
      ++at;
    } else {
      at += find.skip + find.length;
    }
  }
  return out;
}

void anonymize_json(OrderedJson& value, std::array<int64_t, kPersonalDataKinds>& found,
                    PersonalDataRules rules) {
  if (value.is_string()) {
    value = anonymize_text(value.get_ref<const std::string&>(), found, rules);
  } else if (value.is_number_unsigned()) {
    int64_t before = std::accumulate(found.begin(), found.end(), int64_t{0});
    std::string text = anonymize_text(value.dump(), found, rules);
    if (std::accumulate(found.begin(), found.end(), int64_t{0}) > before) value = text;
  } else if (value.is_structured()) {
    for (OrderedJson& item : value) anonymize_json(item, found, rules);  // the reader bounds the depth
  }
}

PersonalDataCounts anonymize_dataset(const std::filesystem::path& input, const std::filesystem::path& output,
                                     PersonalDataRules rules,
                                     const std::function<void(int64_t rows)>& progress) {
  std::error_code ignored;
  if (std::filesystem::equivalent(input, output, ignored))
    fail_usage("{}: input and output are one file; name another output", output.string());
  RecordWriter writer(output);
  PersonalDataCounts counts;
  for_each_record(input, [&](Record&& record) {
    int64_t before = counts.total();
    anonymize_json(record.value, counts.found, rules);
    ++counts.rows;
    counts.rows_with += counts.total() > before;
    writer.write(record.value);
    if (progress) progress(counts.rows);
    return true;
  });
  if (counts.rows == 0) fail_input("{}: no records", input.string());
  writer.commit();
  return counts;
}

}  // namespace fettle
