// Two devices for the tests of gpu_samples: the functions of libnvidia-ml.so.1 that the program looks up.
#include <cstring>

extern "C" {

int nvmlInit_v2() {
  return 0;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  static int devices[2];
  *device = &devices[index];
  devices[index] = static_cast<int>(index);
  return 0;
}
int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  std::strncpy(name, *static_cast<int*>(device) == 0 ? "First GPU" : "Second GPU", length);
  return 0;
}
int nvmlDeviceGetUtilizationRates(void* device, unsigned* rates) {
  if (*static_cast<int*>(device) == 1) return 3;  // not supported
  rates[0] = 87;
  rates[1] = 12;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void*, unsigned long long* memory) {
  memory[0] = 24ull << 30;
  memory[1] = 20ull << 30;
  memory[2] = 4ull << 30;
  return 0;
}
}
