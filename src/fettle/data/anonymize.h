// Personal data in texts: found by rules, counted, masked. Values never reach a report.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// The rules, in the order in which they look at a text.
enum class PersonalData {
  kEmail,     ///< name@host.tld
  kIdNumber,  ///< mainland Chinese identity numbers: 17 digits, a birth date within, and the check digit of
              ///< GB 11643; US social security numbers written 123-45-6789
  kBankCard,  ///< 13 to 19 digits, perhaps in groups, with a valid Luhn digit and a first digit from 3 to 6
  kPhone,  ///< Chinese mobile (1[3-9] and 9 digits, +86) and landline (0xx-xxxxxxx) numbers, North American
           ///< ones with separators, +country numbers
  kIpAddress,  ///< four numbers to 255
  kAccount,    ///< WeChat and QQ accounts behind a word that says so; see personal_context.h
  kName,       ///< behind 我叫, 姓名, "my name is"
  kAddress,    ///< behind 地址, 住址, 家住, 住在; "221 Baker Street"
};
inline constexpr int kPersonalDataKinds = 8;
/// For people ("phone numbers") and for programs ("phone").
const char* personal_data_name(PersonalData kind);
const char* personal_data_key(PersonalData kind);
/// What replaces a find ("[PHONE]"), and what is looked for, in words.
const char* personal_data_mask(PersonalData kind);
const char* personal_data_rule(PersonalData kind);

/// Kinds to look for, a bit (1 << PersonalData) each.
using PersonalDataRules = uint32_t;
inline constexpr PersonalDataRules kAllPersonalData = (1u << kPersonalDataKinds) - 1;
/// All rules but those with these keys. Error(kUsage) for an unknown key.
PersonalDataRules personal_data_rules_without(const std::vector<std::string>& keys);

struct PersonalDataCounts {
  std::array<int64_t, kPersonalDataKinds> found{};  ///< by PersonalData
  int64_t rows = 0;                                 ///< rows read
  int64_t rows_with = 0;                            ///< rows with anything
  int64_t total() const;
};

/// `text` with each find replaced by its mask; counts are added to `found`.
std::string anonymize_text(std::string_view text, std::array<int64_t, kPersonalDataKinds>& found,
                           PersonalDataRules rules = kAllPersonalData);

/// Masks every text and whole number of a JSON value, object keys apart.
void anonymize_json(OrderedJson& value, std::array<int64_t, kPersonalDataKinds>& found,
                    PersonalDataRules rules = kAllPersonalData);

/// Writes the records of `input`, masked, to a .json or .jsonl file. Error(kUsage) when output and input are
/// one file.
PersonalDataCounts anonymize_dataset(const std::filesystem::path& input, const std::filesystem::path& output,
                                     PersonalDataRules rules = kAllPersonalData,
                                     const std::function<void(int64_t rows)>& progress = {});

}  // namespace fettle
