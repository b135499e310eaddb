// Personal data in texts: found by rules, counted, masked. Values never reach a report.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

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
};
inline constexpr int kPersonalDataKinds = 5;
/// For people ("phone numbers") and for programs ("phone").
const char* personal_data_name(PersonalData kind);
const char* personal_data_key(PersonalData kind);

struct PersonalDataCounts {
  std::array<int64_t, kPersonalDataKinds> found{};  ///< by PersonalData
  int64_t rows = 0;                                 ///< rows read
  int64_t rows_with = 0;                            ///< rows with anything
  int64_t total() const;
};

/// `text` with each find replaced by [EMAIL], [ID], [CARD], [PHONE] or [IP]; counts are added to `found`.
std::string anonymize_text(std::string_view text, std::array<int64_t, kPersonalDataKinds>& found);

/// Masks every text and whole number of a JSON value, object keys apart.
void anonymize_json(OrderedJson& value, std::array<int64_t, kPersonalDataKinds>& found);

/// Counts over a file, folder or pattern.
PersonalDataCounts count_personal_data(const std::filesystem::path& input);

/// Writes the records of `input`, masked, to a .json or .jsonl file. Error(kUsage) when output and input are
/// one file.
PersonalDataCounts anonymize_dataset(const std::filesystem::path& input, const std::filesystem::path& output);

}  // namespace fettle
