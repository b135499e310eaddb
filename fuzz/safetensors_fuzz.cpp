// safetensors: the header, and every tensor it names.
#include "fettle/formats/safetensors.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    SafetensorsFile file(fuzz::file_of(data, size, "x.safetensors"));
    for (const auto& [name, info] : file.tensors())
      if (info.dtype) file.tensor(name);
  });
}
