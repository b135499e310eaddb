#include "fettle/train/finetune.h"

#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/base/failpoint.h"
#include "fettle/base/file.h"
#include "fettle/base/mapped_pages.h"
#include "fettle/base/progress.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/data/preview.h"
#include "fettle/formats/weight_source.h"
#include "fettle/models/loader.h"
#include "fettle/models/saver.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/lora_calibration.h"
#include "fettle/track/plot.h"
#include "fettle/train/adapter_options.h"
#include "fettle/train/checkpoint.h"
#include "fettle/train/disk_plan.h"
#include "fettle/train/estimate.h"
#include "fettle/train/model_batch.h"
#include "fettle/train/optimizer_config.h"
#include "fettle/train/profile_report.h"
#include "fettle/train/run_callbacks.h"
#include "fettle/train/run_data.h"
#include "fettle/train/stop_signal.h"
#include "fettle/train/train_options.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

using Text = std::optional<std::string>;

// Weights as they are saved, where the optimizer keeps an average of them.
class ShownAverage {
 public:
  explicit ShownAverage(Optimizer& optimizer) : optimizer_(optimizer) { optimizer_.show_average(true); }
  ~ShownAverage() { optimizer_.show_average(false); }
  ShownAverage(const ShownAverage&) = delete;
  ShownAverage& operator=(const ShownAverage&) = delete;

 private:
  Optimizer& optimizer_;
};

// Everything of a run that is not the loop itself.
class FineTuning {
 public:
  FineTuning(const Config& config, RunMode mode, const EstimateOptions& estimate)
      : config_(config), mode_(mode), estimate_options_(estimate) {
    for (const char* name : {"model_name_or_path", "dataset", "output_dir"})
      config.require(name, "fettle train");
    base_ = config.get<std::string>("model_name_or_path");
    output_ = config.get<std::string>("output_dir");
    // A folder of its own, so that the run itself can follow.
    if (mode == RunMode::kProfile) output_ /= "profile";
    stage_ = config.get<std::string>("stage");
    resume_ = config.get<Text>("resume_from_checkpoint");
    if (resume_ && (*resume_ == "false" || resume_->empty())) resume_.reset();
    if (resume_ && (*resume_ == "True" || *resume_ == "yes")) resume_ = "true";
    method_ = config.get<std::string>("finetuning_type");
    full_ = method_ == "full" || method_ == "freeze";
    const bool pure = full_ && config.get<bool>("pure_bf16");
    compute_ = config.get<bool>("bf16") || pure ? DType::kBF16
               : config.get<bool>("fp16")       ? DType::kF16
                                                : DType::kF32;
    if (pure) trained_ = DType::kBF16;
    if (pure && config.get<std::string>("optim").starts_with("schedule_free"))
      fail_usage("pure_bf16: schedule-free optimizers keep two sets of weights, which have to be f32");
    loftq_ = !full_ && config.get<std::string>("init_lora_weights") == "loftq";
    if (config.get<bool>("do_predict") && !config.get<bool>("predict_with_generate"))
      fail_usage("do_predict: set predict_with_generate: true, or use eval_strategy for the loss alone");
    if (std::optional<int> threads = config.get<std::optional<int>>("threads")) set_thread_count(*threads);
  }

  void run() {
    // Progress may go through a pipe whose reader is gone by the morning.
    if (mode_ == RunMode::kTrain) ::signal(SIGPIPE, SIG_IGN);
    if (mode_ != RunMode::kEstimate) check_output();
    if (mode_ == RunMode::kTrain || mode_ == RunMode::kProfile) check_writable();
    ModelConfig model_config = read_model_config(base_);
    data_ = read_run_data(config_, model_config.vocab_size, output_);
    const uint64_t program = resident_bytes();
    open_model();
    prepare_trainables();
    arguments_ = train_arguments(config_, compute_);
    if (mode_ == RunMode::kProfile) {
      arguments_.max_steps = 3;
      arguments_.save_strategy = TrainArguments::When::kNo;
      arguments_.eval_strategy = TrainArguments::When::kNo;
    }
    resolve_steps(config_, arguments_, static_cast<int64_t>(data_.training.examples.size()));
    arguments_.optimizer = optimizer_options(
        config_, *model_, output_,
        plan_training(arguments_, static_cast<int64_t>(data_.training.examples.size())).warmup_steps);
    arguments_.optimizer.learning_rate_factor = loraplus_factors(config_);
    make_schedule(
        {.type = arguments_.lr_scheduler_type,
         .learning_rate = arguments_.learning_rate,
         .warmup_steps = 0,
         .total_steps = 1,
         .options = arguments_.lr_scheduler_kwargs});  // a bad schedule is refused before anything is printed
    plan_ = plan_training(arguments_, static_cast<int64_t>(data_.training.examples.size()));
    check_metric(arguments_, Evaluator(*model_, cpu_backend(), evaluation_dtype(config_, compute_),
                                       data_.evaluation, evaluation_options(config_, data_, output_)));
    RunEstimate estimate(config_,
                         {.model = model_.get(),
                          .adapter = full_ ? nullptr : adapters_.back().get(),
                          .trainables = trainables_,
                          .arguments = arguments_,
                          .evaluation = data_.evaluation,
                          .evaluation_batch = evaluation_options(config_, data_, output_).batch_size,
                          .program = program},
                         data_.training.examples);
    if (arguments_.batch_tokens_by_memory)
      arguments_.per_device_train_batch_tokens = estimate.bound_passes_by_memory();
    if (arguments_.checkpointing_by_memory && estimate.keeps_blocks_by_memory()) {
      arguments_.gradient_checkpointing = false;
      arguments_.selective_checkpointing = true;
    }
    say_plan(estimate);
    if (mode_ == RunMode::kEstimate) return estimate.say(output_, estimate_options_);
    estimate.check(mode_ != RunMode::kDryRun);
    optimizer_bytes_ = estimate.memory().optimizer;
    say_sample();
    if (mode_ == RunMode::kDryRun) {
      say("Dry run: nothing was trained or written.");
      return;
    }
    train();
  }

 private:
  void check_output() const {
    if (fs::exists(output_) && !fs::is_directory(output_))
      fail_usage("output_dir {}: is a file, expected a folder", output_.string());
    std::error_code ignored;
    if (fs::exists(output_) && fs::equivalent(base_, output_, ignored))
      fail_usage("output_dir {} is the base model's own folder; name another one", output_.string());
    bool used = false;
    if (resume_ || mode_ == RunMode::kProfile) return;
    if (fs::is_directory(output_))
      for (const fs::directory_entry& entry : fs::directory_iterator(output_)) {
        std::string name = entry.path().filename().string();
        used = used || name.starts_with("checkpoint-") || name == "adapter_model.safetensors" ||
               name == "model.safetensors" || name == "trainer_log.jsonl";
      }
    if (used && !config_.get<bool>("overwrite_output_dir"))
      fail_usage(
          "output_dir {}: holds an earlier run; go on with resume_from_checkpoint=true, name another folder, "
          "or set "
          "overwrite_output_dir=true",
          output_.string());
  }

  // Before anything is loaded: a run that cannot write must not find out at its first save. What is made for
  // the trial goes again, since the run may yet be refused.
  void check_writable() const {
    std::vector<fs::path> made;
    for (fs::path folder = fs::absolute(output_); !fs::exists(folder); folder = folder.parent_path())
      made.push_back(folder);
    make_output();
    {
      AtomicFile probe(output_ / ".probe");
      probe.write("probe");  // never committed, so nothing remains
    }
    std::error_code ignored;
    for (const fs::path& folder : made) fs::remove(folder, ignored);
  }

  void make_output() const {
    std::error_code error;
    fs::create_directories(output_, error);
    if (error) fail_resources("output_dir {}: cannot create: {}", output_.string(), error.message());
  }

  void open_model() {
    std::vector<std::string> notes;
    if (config_.get<bool>("train_from_scratch")) {
      model_ = build_model(read_model_config(base_));
      initialise_weights(*model_, static_cast<uint64_t>(config_.get<int64_t>("seed")),
                         full_ ? trained_ : compute_);
      return;
    }
    Progress progress("load", "B");
    model_ = load_model(base_,
                        {.compute = compute_,
                         .trainable_base = method_ == "full",
                         .trainable_dtype = trained_,
                         .quantize = loftq_ ? std::nullopt : quantize_options(config_),
                         .strict_finite = config_.get<bool>("strict_finite"),
                         .progress =
                             [&](uint64_t done, uint64_t total) {
                               progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
                             }},
                        notes);
    progress.finish();
    for (const std::string& note : notes) warn("{}", note);
  }

  void prepare_trainables() {
    for (const Parameter* parameter : model_->parameters()) base_parameters_ += parameter->numel();
    if (full_) {
      if (config_.get<std::optional<std::vector<std::string>>>("adapter_name_or_path"))
        fail_usage(
            "adapter_name_or_path: full fine-tuning trains the base; merge the adapter first with fettle "
            "export");
      trainables_ = method_ == "freeze" ? unfrozen_parameters(config_, *model_) : model_->parameters();
      for (Parameter* parameter : trainables_) {
        parameter->trainable = true;
        if (parameter->value.dtype() == trained_ && !in_mapped_file(parameter->value.raw())) continue;
        const Tensor stored = parameter->value;
        parameter->value = stored.dtype() == trained_ ? stored.clone(MemoryKind::kWeights)
                                                      : stored.to(trained_, MemoryKind::kWeights);
        forget_mapped_pages(stored.raw(), stored.nbytes());
      }
      return;
    }
    if (config_.is_set("adapter_weights"))
      fail_usage(
          "adapter_weights: only where a model is used or exported; fettle adapter combine makes one adapter "
          "of "
          "several weighted ones");
    uint64_t seed = static_cast<uint64_t>(config_.get<int64_t>("seed"));
    std::vector<std::string> existing =
        config_.get<std::optional<std::vector<std::string>>>("adapter_name_or_path")
            .value_or(std::vector<std::string>());
    if (method_ == "adapter_fusion") existing.clear();  // they are fused, not trained on
    bool fresh = config_.get<bool>("create_new_adapter") || existing.empty();
    // As LLaMA-Factory: of several adapters all but the last become part of the base; the last one is trained
    // on.
    for (const std::string& folder : existing) adapters_.push_back(Adapter::load(*model_, folder));
    if (fresh) add_new_adapter(seed);
    if (adapters_.size() > 1)
      warn("the adapter to be trained is an addition to {}; both are needed at inference",
           fmt::format("{}", fmt::join(existing, ", ")));
    Adapter& adapter = *adapters_.back();
    adapter.set_base_model((own_base_.empty() ? base_ : own_base_).string());
    adapter.set_trainable(true);
    trainables_ = adapter.parameters();
  }

  void add_new_adapter(uint64_t seed) {
    AdapterConfig options = adapter_options(config_, *model_, data_.tokenizer.get());
    std::optional<Progress> progress;
    Calibration calibration{
        .rows = static_cast<int64_t>(data_.training.examples.size()),
        .batch_size = batch_rows(config_),
        // Gradients of a calibration have no loss scale.
        .compute = compute_ == DType::kF16 ? DType::kF32 : compute_,
        .batch = [this](int64_t first, int64_t count) { return calibration_batch(first, count); },
        .progress =
            [&](int64_t done, int64_t total) {
              if (!progress) progress.emplace("initialise", "step");
              progress->update(done, total);
            }};
    adapters_.push_back(Adapter::create(*model_, options, seed, &calibration));
    if (progress) progress->finish();
    if (!loftq_) return;
    const AdapterConfig& used = adapters_.back()->config();
    ConfigFields settings(used.sorted()["loftq_config"], used.origin);
    quantize_linears(*model_,
                     quantize_options(config_, static_cast<int>(settings.integer("loftq_bits", 4, 4, 8))));
    // After one round the base is the model as quantization_bit loads it; after more it exists nowhere else.
    if (settings.integer("loftq_iter", 1, 1, 100) > 1) own_base_ = output_ / "loftq_base";
  }

  CalibrationBatch calibration_batch(int64_t first, int64_t count) const {
    std::vector<int64_t> rows(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), first);
    PackedBatch packed = pack_examples(data_.training.examples, rows);
    CalibrationBatch batch{.input = packed_input(packed), .labels = packed.labels, .token_learns = {}};
    for (int64_t row : rows)
      for (const Example example = data_.training.examples[static_cast<size_t>(row)];
           int32_t label : example.labels)
        batch.token_learns.push_back(label != kIgnoreLabel);
    return batch;
  }

  void say_plan(const RunEstimate& estimate) const {
    int64_t trainable = 0, total = base_parameters_, tokens = 0, labels = 0;
    for (const Parameter* parameter : trainables_) trainable += parameter->numel();
    if (!full_)
      for (const auto& adapter : adapters_) total += adapter->parameter_count();
    for (const Example example : data_.training.examples) {
      tokens += static_cast<int64_t>(example.ids.size());
      labels += example.labelled();
    }
    Table table({});
    auto row = [&](const std::string& name, const std::string& value) { table.add_row({name, value}); };
    row("model",
        fmt::format("{} ({}, {})", base_.string(), model_->config().architecture, dtype_name(compute_)));
    row("method", method_ == "full"     ? "full fine-tuning"
                  : method_ == "freeze" ? fmt::format("{} trained tensors of the base", trainables_.size())
                                        : adapters_.back()->description());
    row("parameters", fmt::format("trainable params: {} || all params: {} || trainable%: {:.4f}",
                                  format_count(trainable), format_count(total),
                                  100.0 * static_cast<double>(trainable) / static_cast<double>(total)));
    row("data", fmt::format("{} examples, {} tokens, {} trained", format_count(plan_.examples),
                            format_count(tokens), format_count(labels)));
    row("optimizer", arguments_.optimizer.name + (arguments_.optimizer.paged_in.empty() ? "" : ", paged"));
    row("steps", fmt::format("{} ({} an epoch, batch {} x {} accumulated, {} warm-up)",
                             format_count(plan_.total_steps), plan_.updates_per_epoch,
                             arguments_.per_device_train_batch_size, arguments_.gradient_accumulation_steps,
                             plan_.warmup_steps));
    row("memory", estimate.memory_text());
    if (arguments_.checkpointing_by_memory)
      row("recomputed",
          arguments_.selective_checkpointing
              ? "norms and functions of MLPs, for memory is ample (gradient_checkpointing: auto)"
              : "whole blocks, for memory is scarce (gradient_checkpointing: auto)");
    if (arguments_.per_device_train_batch_tokens > 0)
      row("passes",
          fmt::format("of at most {} tokens{}", format_count(arguments_.per_device_train_batch_tokens),
                      arguments_.batch_tokens_by_memory ? ", which the memory holds" : ""));
    row("output", output_.string());
    say_line("");
    say_line(table.text());
  }

  DiskPlan disk_plan() const {
    DiskPlan disk =
        plan_disk(*model_, full_ ? base_ : fs::path(), compute_ == DType::kBF16 ? DType::kBF16 : DType::kF32,
                  trainables_, optimizer_bytes_, config_.get<bool>("save_only_model"));
    if (!full_ && data_.tokenizer)
      for (const fs::path& file : data_.tokenizer->files()) disk.add_file(file);
    return disk;
  }

  void check_disk() const {
    const bool none = arguments_.save_strategy == TrainArguments::When::kNo;
    const int64_t limit = config_.get<std::optional<int64_t>>("save_total_limit").value_or(0);
    const DiskPlan disk = disk_plan();
    disk.check(output_, disk.result + (none ? 0 : disk.checkpoint),
               disk.needed(arguments_, plan_, limit, count_checkpoints(output_)),
               config_.get<std::string>("disk_check") == "refuse");
  }

  void say_sample() const {
    say_line("One example as it will be trained (the marked part is learned):");
    say_line(preview_example(data_.training.examples.front(), data_.tokenizer.get(), use_color(stderr)));
  }

  void save_weights(const fs::path& folder) {
    // Tensors made for the files have other sizes than those of a step.
    HostMemory::instance().trim();
    if (full_) {
      save_model(*model_, base_, folder, compute_ == DType::kBF16 ? DType::kBF16 : DType::kF32);
      return;
    }
    adapters_.back()->save(folder);
    if (data_.tokenizer)
      for (const fs::path& file : data_.tokenizer->files())
        copy_file_atomically(file, folder / file.filename());
  }

  void train() {
    make_output();
    RunLock lock(output_);
    remove_leftovers(output_);
    if (!resume_ && config_.get<bool>("overwrite_output_dir")) remove_earlier_run();
    if (mode_ == RunMode::kTrain) check_disk();
    if (!own_base_.empty() && !fs::exists(own_base_)) save_own_base();
    // At the beginning as well, so that a run can be understood while it goes on.
    write_file_atomically(output_ / "run_config.yaml", config_.to_yaml(false));
    write_environment(output_, cpu_backend_description(), thread_count());
    const fs::path checkpoint = resume_ ? find_checkpoint(*resume_, output_) : fs::path();
    const bool foreign = resume_ && is_trainer_checkpoint(checkpoint);
    if (foreign) take_trainer_weights(checkpoint);  // before the optimizer, which may copy them
    std::unique_ptr<Optimizer> owner = make_optimizer(cpu_backend(), trainables_, arguments_.optimizer);
    Optimizer& optimizer = *owner;
    Adapter* adapter = full_ ? nullptr : adapters_.back().get();
    RunIdentity identity = identify_run(config_, data_.training, trainables_);
    CheckpointState restored;
    if (foreign) {
      restored = read_trainer_checkpoint(checkpoint, arguments_);
      restored.identity = identity;
      warn(
          "{}: a checkpoint of transformers.Trainer: weights, step and log are taken over; the optimizer "
          "starts anew, and "
          "rows and dropout follow our own random numbers",
          checkpoint.string());
      if (restored.progress.step >= plan_.total_steps)
        fail_usage("resume_from_checkpoint {}: stands at step {}, this run has {} steps", checkpoint.string(),
                   restored.progress.step, plan_.total_steps);
      say("Going on from {} at step {} of {}.", checkpoint.string(), restored.progress.step,
          plan_.total_steps);
    } else if (resume_) {
      restored = load_checkpoint(checkpoint, identity, optimizer);
      if (adapter) read_adapter_state(checkpoint, *adapter);
      // The passes of a run stay as they were cut, whatever the memory is now.
      if (arguments_.batch_tokens_by_memory && restored.progress.batch_tokens > 0)
        arguments_.per_device_train_batch_tokens = restored.progress.batch_tokens;
      // A checkpoint of another folder brings its own log along.
      if (!fs::exists(output_ / "trainer_log.jsonl")) restored.log_bytes = 0;
      say("Going on from {} at step {} of {}.", checkpoint.string(), restored.progress.step,
          plan_.total_steps);
    }
    restored.progress.batch_tokens = arguments_.per_device_train_batch_tokens;
    ProgressCallback bar(plan_.total_steps, restored.progress.loss_scale.skipped);
    FilesCallback files(output_, arguments_, plan_, config_.get<bool>("plot_loss"), restored.log_history,
                        restored.log_bytes);
    Trainer* running = nullptr;
    const bool only_model = config_.get<bool>("save_only_model");
    CheckpointCallback checkpoints(
        output_,
        [&](const fs::path& folder) {
          {
            ShownAverage average(optimizer);
            save_weights(folder);
          }
          if (adapter) write_adapter_state(folder, *adapter);
          write_training_state(folder, {running->progress(), files.history(), files.log_bytes(), identity},
                               only_model ? nullptr : &optimizer);
        },
        files,
        {.limit = config_.get<std::optional<int64_t>>("save_total_limit").value_or(0),
         .bytes = disk_plan().checkpoint,
         .stop_at_failure = config_.get<std::string>("save_failure") == "stop"});
    signals_.hold();
    HostMemory::instance().reset_peaks();
    Profile profile;
    std::unique_ptr<Backend> profiled;
    if (mode_ == RunMode::kProfile) profiled = profiled_backend(cpu_backend(), profile);
    Trainer trainer(*model_, profiled ? *profiled : cpu_backend(), single_process(), optimizer,
                    data_.training.examples, arguments_, {&bar, &files, &checkpoints});
    if (profiled) trainer.set_profile(&profile);
    running = &trainer;
    trainer.set_adapter(adapter);
    Evaluator evaluator(*model_, cpu_backend(), evaluation_dtype(config_, compute_), data_.evaluation,
                        evaluation_options(config_, data_, output_));
    trainer.set_evaluation(&evaluator);
    trainer.set_progress(restored.progress);
    TrainSummary summary = trainer.run();
    if (profiled) {
      report_profile(profile, summary, output_ / "profile.json");
      return;
    }
    failpoint("final");
    optimizer.show_average(true);
    if (config_.get<bool>("overwrite_output_dir")) remove_earlier_weights();
    save_result(summary);
    say_result(summary, files);
    if (config_.get<bool>("do_predict") && !summary.stopped) predict();
    // Exit code 0 says that everything asked for is on the disk, 75 that the run can go on from where it
    // stopped.
    if (!checkpoints.problem().empty())
      fail_resources("{}; the weights after step {} are in {}", checkpoints.problem(), summary.steps,
                     output_.string());
    if (!files.problem().empty())
      fail_resources("{}; the weights after step {} are in {}", files.problem(), summary.steps,
                     output_.string());
    if (summary.stopped)
      throw Error(ExitCode::kResumable,
                  fmt::format("stopped at step {} of {} on request; {}", summary.steps, plan_.total_steps,
                              only_model ? "the weights so far are in " + output_.string()
                                         : "go on with resume_from_checkpoint=true"));
  }

  void save_result(const TrainSummary& summary) {
    try {
      save_weights(output_);
    } catch (const Error& error) {
      if (error.code() != ExitCode::kResources) throw;
      fail_resources(
          "cannot save the result: {}; with room on the disk resume_from_checkpoint=true goes on from the "
          "newest checkpoint",
          error.what());
    }
    if (!arguments_.load_best_model_at_end || summary.best_step == 0 || summary.best_step == summary.steps ||
        summary.stopped)
      return;
    const fs::path best = output_ / fmt::format("checkpoint-{}", summary.best_step);
    if (!fs::is_directory(best))
      fail_resources("{}: the best checkpoint could not be saved; the weights in {} are those of step {}",
                     best.string(), output_.string(), summary.steps);
    copy_checkpoint_weights(best, output_);
  }

  // LLaMA-Factory's do_predict: answers to the evaluation rows by the trained model.
  void predict() {
    EvaluationOptions options = evaluation_options(config_, data_, output_);
    Evaluator evaluator(*model_, cpu_backend(), evaluation_dtype(config_, compute_), data_.evaluation,
                        options);
    Progress progress("predict", "row");
    std::vector<EvalRecord> records = evaluator.run(
        plan_.total_steps, 0, [&](int64_t done, int64_t total) { progress.update(done, total); });
    progress.finish();
    write_metrics(output_, "predict", records);
    for (const EvalRecord& record : records)
      for (const auto& [metric, value] : record.metrics)
        say("predict_{}{}  {:.4f}", record.name.empty() ? "" : record.name + "_", metric, value);
    say("Answers:  {}", options.predictions.string());
  }

  void take_trainer_weights(const fs::path& checkpoint) {
    if (!full_) {
      const std::string init = config_.get<std::string>("init_lora_weights");
      if (init.starts_with("pissa") || init == "olora" || init == "corda" || init == "lora_ga" ||
          init == "loftq" || config_.get<bool>("pissa_init"))
        fail_usage(
            "resume_from_checkpoint {}: init_lora_weights {} changed the base of that run, which cannot be "
            "repeated",
            checkpoint.string(), init);
      const AdapterConfig theirs = AdapterConfig::read(checkpoint);
      if (theirs.peft_type != adapters_.back()->config().peft_type)
        fail_usage("resume_from_checkpoint {}: holds {}, this run trains {}", checkpoint.string(),
                   theirs.peft_type, adapters_.back()->config().peft_type);
      adapters_.back()->read_weights(checkpoint);
      return;
    }
    WeightSource source = WeightSource::open_model(checkpoint);
    for (Parameter* parameter : trainables_) {
      Tensor value = source.tensor(parameter->name).to(parameter->value.dtype(), MemoryKind::kWorkspace);
      if (value.shape() != parameter->shape)
        fail_input("{}: \"{}\" is {}, the model has {}", checkpoint.string(), parameter->name,
                   shape_string(value.shape()), shape_string(parameter->shape));
      parameter->value.assign(value.raw(), value.nbytes());
    }
  }

  void save_own_base() {
    StagedFolder staged(own_base_);
    Progress progress("write base", "B");
    save_quantized_model(*model_, base_, staged.path(), uint64_t{5} << 30,
                         [&](uint64_t done, uint64_t total) {
                           progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
                         });
    progress.finish();
    staged.commit();
  }

  void remove_earlier_run() const {
    if (!own_base_.empty()) fs::remove_all(own_base_);
    for (const fs::directory_entry& entry : fs::directory_iterator(output_)) {
      std::string name = entry.path().filename().string();
      if (entry.is_directory() && name.starts_with("checkpoint-")) fs::remove_all(entry.path());
      if (name.ends_with("_results.json") || name == "trainer_state.json" || name == "latest" ||
          name == "system_log.jsonl" || name == "generated_predictions.jsonl")
        fs::remove(entry.path());
    }
  }

  // Weights of a method that wrote other files: readers would take them for, or together with, the new ones.
  // They stay until there is something to put in their place, and a run may begin with an adapter that it
  // replaces.
  void remove_earlier_weights() const {
    for (const char* name :
         {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "adapter.safetensors",
          "adapter_fusion_config.json", "model_adapter_fusion.safetensors", "config.json",
          "model.safetensors", "model.safetensors.index.json"})
      fs::remove(output_ / name);
    for (const fs::directory_entry& entry : fs::directory_iterator(output_))
      if (std::string name = entry.path().filename().string();
          name.starts_with("model-") && name.ends_with(".safetensors") && entry.is_regular_file())
        fs::remove(entry.path());
  }

  void say_result(const TrainSummary& summary, const FilesCallback& files) const {
    say_line("");
    say("train_loss {:.4f} after {} steps in {}, {:.0f} tokens/s, peak memory {} ({} resident)",
        summary.train_loss, summary.steps, format_duration(summary.runtime_seconds),
        static_cast<double>(summary.tokens) / std::max(summary.runtime_seconds, 1e-9),
        format_bytes(HostMemory::instance().report().total.peak), format_bytes(peak_resident_bytes()));
    if (summary.best_step > 0)
      say("best {} {:.4f} at step {}{}{}", arguments_.metric_for_best_model, summary.best_metric,
          summary.best_step,
          arguments_.load_best_model_at_end && !summary.stopped ? "; its weights are the result" : "",
          summary.early
              ? fmt::format("; stopped after {} evaluations without a gain", arguments_.early_stopping_steps)
              : "");
    if (files.losses().size() > 1)
      say("loss  {:.3f} {} {:.3f}", files.losses().front(), sparkline(files.losses(), 50),
          files.losses().back());
    say_line("");
    if (full_) {
      say("Model:    {}", output_.string());
      say("Talk:     fettle chat --model {}", output_.string());
    } else {
      say("Adapter:  {}", output_.string());
      const std::string model = (own_base_.empty() ? base_ : own_base_).string();
      if (loftq_) {
        // The adapter makes up for what quantising lost, so it belongs to that base alone.
        say("Talk:     fettle chat --model {} --adapter {}{}", model, output_.string(),
            own_base_.empty() ? " " + quantization_words() : "");
      } else {
        say("Talk:     fettle chat --model {} --adapter {}", model, output_.string());
      }
      if (!loftq_)
        say("Merge:    fettle export model_name_or_path={} adapter_name_or_path={} export_dir={}-merged",
            base_.string(), output_.string(), output_.string());
    }
    say("Log:      {}", (output_ / "trainer_log.jsonl").string());
    if (config_.get<bool>("plot_loss")) say("Plot:     {}", (output_ / "training_loss.png").string());
  }

  // What makes the base of a LoftQ adapter out of the model.
  std::string quantization_words() const {
    const Json& settings = adapters_.back()->config().sorted()["loftq_config"];
    return fmt::format("quantization_bit={} quantization_type={} double_quantization={}",
                       settings["loftq_bits"].get<int>(), settings["quant_type"].get<std::string>(),
                       settings["double_quantization"].get<bool>());
  }

  StopSignal signals_;
  const Config& config_;
  RunMode mode_;
  EstimateOptions estimate_options_;
  uint64_t optimizer_bytes_ = 0;  ///< of its state
  bool loftq_ = false;            ///< the base is quantised when the adapter is made, and belongs to it
  fs::path own_base_;  ///< where a base is written that is not the model as it can be loaded; mostly empty
  fs::path base_, output_;
  std::string stage_;
  std::string method_;
  bool full_ = false;  ///< the base itself learns: all of it, or with freeze a part
  int64_t base_parameters_ = 0;
  DType compute_ = DType::kF32;
  DType trained_ = DType::kF32;  ///< of the base's weights that learn
  std::optional<std::string> resume_;
  RunData data_;
  std::unique_ptr<CausalLM> model_;
  std::vector<std::unique_ptr<Adapter>> adapters_;  // after the model, so destroyed before it
  std::vector<Parameter*> trainables_;
  TrainArguments arguments_;
  TrainPlan plan_;
};

}  // namespace

void run_finetuning(const Config& config, RunMode mode, const EstimateOptions& estimate) {
  FineTuning(config, mode, estimate).run();
}

}  // namespace fettle
