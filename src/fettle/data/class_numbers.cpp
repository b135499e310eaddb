#include "fettle/data/class_numbers.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/row_selection.h"

namespace fettle {

void ClassNumbers::read(const DatasetRequest& request, const Record& first) {
  constexpr size_t kMostNames = 10000, kBatch = 2048;
  auto is_named = [](const Record& record) {
    return record.value.is_object() && record.value.contains("label") && record.value["label"].is_string();
  };
  if (!is_named(first) || !numbers_.empty()) return;
  for (const std::string& name : request.datasets)
    for_each_selected(dataset_entry(request, name), std::nullopt, request.seed, kBatch,
                      [&](std::vector<Record>&& records, int64_t) {
                        for (const Record& record : records) {
                          if (is_named(record)) numbers_.emplace(record.value["label"].get<std::string>(), 0);
                          if (numbers_.size() > kMostNames)
                            fail_input(
                                "{}: label has more than {} different names; is it the name of a class?",
                                record.origin, kMostNames);
                        }
                      });
  int32_t next = 0;
  for (auto& [name, number] : numbers_) number = next++;
}

int32_t ClassNumbers::number_of(const LabelledText& given) const {
  const std::string label = printable(given.label, 40);
  if (given.named) {
    if (auto found = numbers_.find(given.label); found != numbers_.end()) return found->second;
    throw BadRow{fmt::format("\"label\" is \"{}\", while labels of other rows are numbers", label)};
  }
  if (!numbers_.empty())
    throw BadRow{fmt::format("\"label\" is {}, while labels of other rows are names", label)};
  if (given.class_id < 0)
    throw BadRow{fmt::format("\"label\" is {}, expected a name or a class number", label)};
  return given.class_id;
}

std::vector<std::string> ClassNumbers::names() const {
  std::vector<std::string> names;
  for (const auto& [name, number] : numbers_) names.push_back(name);
  return names;
}

}  // namespace fettle
