// Data sets as JSON: lists, lines, and what the forms make of each record.
#include "fettle/data/forms/forms.h"
#include "fettle/data/reader.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    DatasetEntry entry;
    entry.columns = {
        {"prompt", "instruction"},     {"query", "input"},   {"response", "output"}, {"history", "history"},
        {"messages", "conversations"}, {"system", "system"}, {"tools", "tools"}};
    entry.tags = {
        {"role_tag", "from"},     {"content_tag", "value"},           {"user_tag", "human"},
        {"assistant_tag", "gpt"}, {"observation_tag", "observation"}, {"function_tag", "function_call"},
        {"system_tag", "system"}};
    for_each_record(fuzz::file_of(data, size, "x.jsonl"), [&](Record&& record) {
      try {
        to_conversation(detect_form(entry, record), entry, record.value);
      } catch (const BadRow&) {
      }
      return true;
    });
  });
}
