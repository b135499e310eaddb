#include "quickstart.h"

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fettle/base/json.h"

namespace fettle::test {
namespace fs = std::filesystem;
namespace {

void drop_clock(OrderedJson& json) {
  for (const char* key : {"elapsed_time", "remaining_time", "throughput", "train_runtime",
                          "train_samples_per_second", "train_steps_per_second", "effective_tokens_per_sec"})
    json.erase(key);
}

}  // namespace

std::vector<std::string> quickstart_run(const fs::path& output_dir, const std::vector<std::string>& more) {
  fs::path base = source_dir() / "examples/quickstart";
  std::vector<std::string> words = {"train",
                                    "model_name_or_path=" + (base / "base").string(),
                                    "dataset=counselling",
                                    "dataset_dir=" + (base / "data").string(),
                                    "template=chatml",
                                    "stage=sft",
                                    "finetuning_type=lora",
                                    "lora_rank=4",
                                    "lora_dropout=0.1",
                                    "max_samples=12",
                                    "cutoff_len=48",
                                    "per_device_train_batch_size=2",
                                    "gradient_accumulation_steps=2",
                                    "num_train_epochs=3",
                                    "learning_rate=0.01",
                                    "logging_steps=2",
                                    "save_steps=2",
                                    "save_total_limit=2",
                                    "threads=1",
                                    "output_dir=" + output_dir.string()};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::string run_result(const fs::path& output_dir) {
  std::string out = read_text(output_dir / "adapter_model.safetensors");
  std::istringstream lines(read_text(output_dir / "trainer_log.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    OrderedJson entry = parse_ordered_json(line, "log");
    drop_clock(entry);
    out += entry.dump() + "\n";
  }
  OrderedJson state = parse_ordered_json(read_text(output_dir / "trainer_state.json"), "state");
  for (OrderedJson& entry : state["log_history"]) drop_clock(entry);
  return out + state["log_history"].dump();
}

std::string folder_content(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    if (!entry.is_regular_file() || name == "manifest.json") continue;
    std::string content = read_text(entry.path());
    if (name == "training_state.json") {
      OrderedJson json = parse_ordered_json(content, name);
      json["progress"].erase("elapsed_seconds");
      json.erase("log_bytes");  // lines have clock times of several lengths
      json["options"].erase("output_dir");
      content = json.dump();
    }
    files[name] = content;
  }
  std::string out;
  for (const auto& [name, content] : files) out += name + "\n" + content + "\n";
  return out;
}

}  // namespace fettle::test
