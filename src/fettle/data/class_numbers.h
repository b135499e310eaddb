// Numbers of the classes that labelled texts name.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fettle/data/dataset.h"
#include "fettle/data/forms/forms.h"

namespace fettle {

/// A label that is a number stands for itself; a name has its place among all names in order, as
/// Dataset.class_encode_column of `datasets`.
class ClassNumbers {
 public:
  /// Unless labels are numbers as that of `first`, or names are known already, reads the names of all data
  /// sets of the request, whatever rows of them are asked for. Error(kBadInput) beyond 10,000 names.
  void read(const DatasetRequest& request, const Record& first);
  /// Throws BadRow for a label without a number.
  int32_t number_of(const LabelledText& given) const;
  /// By number; empty when labels are numbers.
  std::vector<std::string> names() const;

 private:
  std::map<std::string, int32_t> numbers_;
};

}  // namespace fettle
