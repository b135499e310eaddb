// Event files of TensorBoard.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

struct ScalarEvent {
  double wall_time = 0;  ///< seconds since 1970
  int64_t step = 0;
  std::string tag;  ///< "train/loss"
  float value = 0;
};

/// Writes one file that TensorBoard reads: TFRecords of tensorflow.Event (tensorflow/core/util/event.proto)
/// with simple_value summaries, behind the version record.
void write_events(const std::filesystem::path& file, const std::vector<ScalarEvent>& events);

/// CRC-32C (Castagnoli).
uint32_t crc32c(std::string_view bytes);

}  // namespace fettle
