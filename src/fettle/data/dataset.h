// From the names of data sets to examples ready for training.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/text/chat.h"

namespace fettle {

struct DatasetRequest {
  std::vector<std::string> datasets;         ///< names of dataset_info.json, or paths of files
  std::filesystem::path dataset_dir;
  std::shared_ptr<const Tokenizer> tokenizer; ///< may be null when every row is tokenised already
  std::shared_ptr<const ChatTemplate> chat;   ///< may be null likewise, and for stage pt
  int64_t cutoff_len = 2048;
  std::optional<int64_t> max_samples;         ///< of each data set
  bool train_on_prompt = false, mask_history = false;
  std::string default_system;
  std::string stage = "sft";                  ///< "sft" or "pt" (plain text in blocks of cutoff_len)
  int64_t vocab_size = 0;
  uint64_t seed = 42;
  std::function<void(int64_t, int64_t)> progress;  ///< rows done, rows in all
};

struct Dataset {
  std::vector<Example> examples;
  std::vector<std::string> notes;            ///< what was dropped or cut, for the user
  int64_t rows_read = 0, dropped = 0, truncated = 0;
};

/// Error(kUsage) for an unknown name, Error(kBadInput) for files that cannot be used, and when nothing is left to learn.
Dataset load_dataset(const DatasetRequest& request);

}  // namespace fettle
