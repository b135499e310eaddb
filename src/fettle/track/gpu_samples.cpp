#include "fettle/track/gpu_samples.h"

#include <dlfcn.h>

#include <array>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// The part of nvml.h that is used; its layout is fixed by the version in the names of functions.
using Device = struct NvmlDevice*;
struct Utilization {
  unsigned gpu, memory;
};
struct Memory {
  unsigned long long total, free, used;
};
constexpr int kSuccess = 0;
constexpr unsigned kMostDevices = 64;

class Nvml {
 public:
  Nvml() {
    void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    int (*init)() = nullptr;
    usable_ = find(library, "nvmlInit_v2", init) && find(library, "nvmlDeviceGetCount_v2", count_) &&
              find(library, "nvmlDeviceGetHandleByIndex_v2", device_) &&
              find(library, "nvmlDeviceGetName", name_) &&
              find(library, "nvmlDeviceGetUtilizationRates", utilization_) &&
              find(library, "nvmlDeviceGetMemoryInfo", memory_) && init() == kSuccess;
  }
  std::vector<GpuSample> sample() const {
    unsigned count = 0;
    if (!usable_ || count_(&count) != kSuccess) return {};
    std::vector<GpuSample> samples;
    for (unsigned i = 0; i < std::min(count, kMostDevices); ++i) {
      Device device = nullptr;
      std::array<char, 96> name{};
      Utilization utilization{};
      Memory memory{};
      if (device_(i, &device) != kSuccess || memory_(device, &memory) != kSuccess) continue;
      // Virtual devices tell their memory only.
      utilization_(device, &utilization);
      name_(device, name.data(), static_cast<unsigned>(name.size() - 1));
      samples.push_back({.name = printable(name.data(), 80),
                         .percent = static_cast<int>(utilization.gpu),
                         .used_bytes = memory.used,
                         .total_bytes = memory.total});
    }
    return samples;
  }

 private:
  template <typename Function>
  static bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    return function != nullptr;
  }

  bool usable_ = false;
  int (*count_)(unsigned*) = nullptr;
  int (*device_)(unsigned, Device*) = nullptr;
  int (*name_)(Device, char*, unsigned) = nullptr;
  int (*utilization_)(Device, Utilization*) = nullptr;
  int (*memory_)(Device, Memory*) = nullptr;
};

}  // namespace

std::vector<GpuSample> sample_gpus() {
  static const Nvml nvml;
  return nvml.sample();
}

}  // namespace fettle
