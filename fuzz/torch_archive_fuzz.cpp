// torch archives: zip, the restricted unpickler, tensors.
#include "fettle/formats/torch_archive.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    TorchArchive archive(fuzz::file_of(data, size, "x.bin"));
    for (const auto& [name, info] : archive.tensors())
      if (info.dtype) archive.tensor(name);
  });
}
