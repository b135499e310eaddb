// Checkpoints that are whole or absent, and the way back from them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fettle/autograd/tape.h"
#include "fettle/base/config/config.h"
#include "fettle/base/json.h"
#include "fettle/data/dataset.h"
#include "fettle/train/optimizers/optimizer.h"
#include "fettle/train/trainer.h"

namespace fettle {

/// What a checkpoint must agree with before a run goes on from it.
struct RunIdentity {
  Json options;            ///< every option of the run that decides about its numbers, as text
  std::string data;        ///< hash of all ids and labels, in order
  std::string parameters;  ///< hash of names and shapes of what is trained
};
RunIdentity identify_run(const Config& config, const Dataset& data,
                         const std::vector<Parameter*>& trainables);

/// Everything besides the weights that others read.
struct CheckpointState {
  TrainerProgress progress;
  Json log_history = Json::array();
  uint64_t log_bytes = 0;  ///< of trainer_log.jsonl when the checkpoint was written
  RunIdentity identity;
};

/// Files of the program's own in a checkpoint-N folder, beside the weights: optimizer.safetensors (f32
/// weights and moments of everything trained), training_state.json. Without `optimizer` the checkpoint cannot
/// be resumed.
void write_training_state(const std::filesystem::path& folder, const CheckpointState& state,
                          const Optimizer* optimizer);

/// What the adapter's method remembers beside its weights: adapter_state.safetensors, where there is
/// anything.
void write_adapter_state(const std::filesystem::path& folder, const Adapter& adapter);
void read_adapter_state(const std::filesystem::path& folder, Adapter& adapter);

/// Weights, configuration and tokenizer files of a checkpoint into the run's own folder.
void copy_checkpoint_weights(const std::filesystem::path& checkpoint, const std::filesystem::path& output);

/// Writes manifest.json: size and XXH3-128 of every file of the folder. Every file and the folder are on the
/// disk when it returns.
void seal_checkpoint(const std::filesystem::path& folder, int64_t step);

/// Why a checkpoint folder cannot be used; empty when every file is as the manifest says.
std::string checkpoint_problem(const std::filesystem::path& folder);

/// N of a folder called checkpoint-N.
std::optional<int64_t> checkpoint_step(const std::filesystem::path& folder);

/// How many checkpoint-N folders there are, whole or not.
int64_t count_checkpoints(const std::filesystem::path& output_dir);

/// The folder that `resume_from_checkpoint` means: "true" or "latest" is the newest valid checkpoint-N of
/// `output_dir`, anything else a path. Each newer one that is skipped is named with its reason through
/// warn(). Error(kBadInput) when none is valid.
std::filesystem::path find_checkpoint(const std::string& wanted, const std::filesystem::path& output_dir);

/// Whether a folder is a checkpoint that transformers.Trainer wrote.
bool is_trainer_checkpoint(const std::filesystem::path& folder);
/// Where a run of Trainer stood, as far as its trainer_state.json tells: step, tokens, log, best metric.
/// Optimizer, random state and order of rows are not among it. Error(kBadInput) naming the file.
CheckpointState read_trainer_checkpoint(const std::filesystem::path& folder, const TrainArguments& arguments);

/// Reads a checkpoint into the weights and the optimizer. Error(kUsage) naming the option, or the data, that
/// differs from those of the checkpoint.
CheckpointState load_checkpoint(const std::filesystem::path& folder, const RunIdentity& identity,
                                Optimizer& optimizer);

/// Keeps a second run out of an output folder for as long as it lives; the lock dies with the process.
class RunLock {
 public:
  /// Error(kResources) naming the process that has it.
  explicit RunLock(const std::filesystem::path& output_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

/// Removes what killed runs left in a folder: staging and trash folders of checkpoints, files that were being
/// written. Needs the lock.
void remove_leftovers(const std::filesystem::path& output_dir);

}  // namespace fettle
