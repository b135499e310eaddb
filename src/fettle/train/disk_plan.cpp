#include "fettle/train/disk_plan.h"

#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/models/saver.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

// Of a tensor in the header of a safetensors file, beside its name.
constexpr uint64_t kHeaderEntry = 70;
// Configuration, manifest, options and counters of a checkpoint.
constexpr uint64_t kStateFiles = 12 << 10;

}  // namespace

DiskPlan plan_disk(CausalLM& model, const fs::path& base, DType dtype,
                   const std::vector<Parameter*>& trainable, uint64_t optimizer_state, bool only_model) {
  DiskPlan plan;
  uint64_t trained = 0, kept = 0, headers = 0;
  for (const Parameter* parameter : trainable) {
    trained += static_cast<uint64_t>(parameter->numel()) * 4;
    kept += static_cast<uint64_t>(parameter->numel()) * dtype_size(parameter->value.dtype());
    headers += kHeaderEntry + parameter->name.size();
  }
  if (base.empty()) {
    plan.result = trained + headers;
  } else {
    for (const Parameter* parameter : model.parameters())
      plan.result += static_cast<uint64_t>(parameter->numel()) * dtype_size(dtype) + kHeaderEntry +
                     parameter->name.size();
    for (const fs::path& file : accompanying_files(base)) plan.result += fs::file_size(file);
  }
  plan.checkpoint = plan.result + kStateFiles;
  // The weights as they are trained, and of each at most two moments.
  if (!only_model) plan.checkpoint += kept + optimizer_state + 3 * headers;
  return plan;
}

void DiskPlan::add_file(const fs::path& file) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(file, error);
  if (error) return;
  result += bytes;
  checkpoint += bytes;
}

void DiskPlan::check(const fs::path& folder, uint64_t least, uint64_t all, bool refuse) const {
  const std::optional<uint64_t> free = disk_free(folder);
  if (!free || *free >= all) return;
  const std::string numbers =
      fmt::format("output_dir {}: {} are free; the result takes {}, a checkpoint {}", folder.string(),
                  format_bytes(*free), format_bytes(result), format_bytes(checkpoint));
  if (*free < least && refuse)
    fail_resources("{}; free some space or name another folder (disk_check=warn trains all the same)",
                   numbers);
  warn("{}, and all that are to be kept {}; save_total_limit=2 keeps fewer", numbers, format_bytes(all));
}

uint64_t DiskPlan::needed(const TrainArguments& arguments, const TrainPlan& plan, int64_t limit,
                          int64_t present) const {
  using When = TrainArguments::When;
  int64_t saves = 0;
  if (arguments.save_strategy == When::kSteps)
    saves = (plan.total_steps + arguments.save_steps - 1) / arguments.save_steps;
  else if (arguments.save_strategy == When::kEpoch)
    saves = plan.epochs;
  else if (arguments.save_strategy == When::kBest)
    saves = 2;  // the best, and a better one before it goes
  if (limit > 0) saves = std::min(saves, limit + 1);
  return result + static_cast<uint64_t>(std::max<int64_t>(saves - present, saves > 0 ? 1 : 0)) * checkpoint;
}

}  // namespace fettle
