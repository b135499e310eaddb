// Words of the data commands: data files beside the options of a run.
#pragma once
#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "fettle/base/config/config.h"
#include "fettle/data/dataset.h"

namespace fettle::app {

/// Flags and words that name data and, if wanted, a model: `[run.yaml] [key=value …] [FILE …] --model DIR
/// --template NAME`.
class DataWords {
 public:
  void declare(CLI::App& command);
  struct Named {
    DatasetRequest training;
    std::vector<std::string> validation;  ///< eval_dataset of the run
  };
  /// Opens tokenizer and template when a model is named. Files take the place of the options `dataset` and
  /// `eval_dataset`. Error(kUsage) when no data is named.
  Named named(const CLI::App& command) const;

 private:
  std::string model_, template_;
};

}  // namespace fettle::app
