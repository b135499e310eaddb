// dataset_info.json.
#include "fettle/data/dataset_info.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  std::filesystem::path folder = fuzz::file_of(data, size, "dataset_info.json").parent_path();
  fuzz::file_of(data, 0, "x.json");
  return fuzz::expect_errors_only([&] { find_dataset(folder, "d"); });
}
