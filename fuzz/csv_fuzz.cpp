// Data sets as CSV and TSV.
#include "fettle/data/reader.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  for (const char* name : {"x.csv", "x.tsv", "x.txt"})
    fuzz::expect_errors_only(
        [&] { for_each_record(fuzz::file_of(data, size, name), [](Record&&) { return true; }); });
  return 0;
}
