// What graphics processors are doing, as NVIDIA's management library says (libnvidia-ml, NVML API reference).
// It comes with the driver and is looked up when the program runs; where it is missing there is nothing to
// sample.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace fettle {

struct GpuSample {
  std::string name;
  int percent = 0;  ///< of the last sampling period in which something was computed; by any process
  uint64_t used_bytes = 0, total_bytes = 0;
};

/// One for each device; empty without devices, driver or library.
std::vector<GpuSample> sample_gpus();

}  // namespace fettle
