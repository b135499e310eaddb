#include "fettle/app/merge_report.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/random.h"
#include "fettle/base/terminal.h"
#include "fettle/infer/generator.h"
#include "fettle/kernels/backend.h"
#include "fettle/peft/merge.h"

namespace fettle::app {
namespace {

// Any ids do: the two models are compared with each other, not with a text. So few take no longer than
// reading the weights once.
std::vector<int32_t> probe_ids(int64_t vocab_size) {
  RandomStream stream({0, RandomUse::kSynthetic, 0, 0});
  std::vector<int32_t> ids;
  for (int i = 0; i < 4; ++i)
    ids.push_back(static_cast<int32_t>(stream.below(static_cast<uint64_t>(vocab_size))));
  return ids;
}

}  // namespace

void merge_and_report(Session& session, const std::filesystem::path& base,
                      const std::filesystem::path& output, uint64_t max_shard_bytes, bool dequantize) {
  for (const std::string& name : session.adapters->names()) {
    const Adapter& adapter = session.adapters->at(name);
    if (std::string why = adapter.why_not_mergeable(); !why.empty())
      fail_usage("{}: {}", adapter.description(), why);
  }
  Progress progress("merge", "B");
  merge_to_folder(
      *session.model, base, output, max_shard_bytes,
      [&](uint64_t done, uint64_t total) {
        progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
      },
      dequantize);
  progress.finish();

  std::vector<int32_t> ids = probe_ids(session.model->config().vocab_size);
  std::vector<std::string> notes;
  std::unique_ptr<CausalLM> merged =
      load_model(output, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  Tensor with_adapter = all_logits(*session.model, cpu_backend(), DType::kF32, ids);
  Tensor after = all_logits(*merged, cpu_backend(), DType::kF32, ids);
  double most = 0, largest = 0;
  for (int64_t i = 0; i < after.numel(); ++i) {
    most =
        std::max(most, static_cast<double>(std::abs(after.data<float>()[i] - with_adapter.data<float>()[i])));
    largest = std::max(largest, static_cast<double>(std::abs(with_adapter.data<float>()[i])));
  }
  say("Largest logit difference, adapter mounted and merged: {:.3g} (largest logit {:.3g}, weights stored as "
      "{})",
      most, largest, dtype_name(session.model->config().dtype));
  // Rounding to 16 bits stays far below this.
  if (most > 0.1 * largest)
    warn(
        "the merged model answers differently from the mounted adapter. An adapted embedding that the head "
        "shares "
        "changes the head as well once it is merged, in PEFT too; use the adapter unmerged, or leave the "
        "embedding "
        "out of lora_target");
}

}  // namespace fettle::app
