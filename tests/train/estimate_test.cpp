// What a run is said to take before it starts, against what it takes.
#include "fettle/train/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fettle/base/random.h"
#include "fettle/base/system.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/communicator.h"
#include "fettle/models/loader.h"
#include "fettle/tensor/rehearsal.h"
#include "fettle/train/passes.h"
#include "fettle/train/time_plan.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using testing::HasSubstr;

Examples rows_of(const std::vector<int64_t>& lengths) {
  std::vector<Example> rows;
  int32_t token = 5;
  for (int64_t length : lengths) {
    Example row;
    for (int64_t i = 0; i < length; ++i) row.ids.push_back(token = token * 7 % 2503);
    row.labels = row.ids;
    rows.push_back(row);
  }
  return rows;
}

// The quickstart's model, full or with an adapter.
class Rehearsed : public ::testing::Test {
 protected:
  void open(const std::string& adapter, DType compute, bool checkpointing,
            const std::string& optimizer = "adamw") {
    adapter_.reset();
    std::vector<std::string> notes;
    model_ = load_model(test::source_dir() / "examples/quickstart/base",
                        {.compute = compute, .trainable_base = adapter.empty()}, notes);
    if (adapter.empty()) {
      run_.trainables = model_->parameters();
      for (Parameter* parameter : run_.trainables) parameter->trainable = true;
    } else {
      Json json = {{"peft_type", adapter}, {"task_type", "CAUSAL_LM"}, {"r", 8}};
      if (adapter == "LORA") json["target_modules"] = {"q_proj", "v_proj", "up_proj", "down_proj"};
      adapter_ = Adapter::create(*model_, AdapterConfig::parse(json, "test"), 1);
      adapter_->set_trainable(true);
      run_.trainables = adapter_->parameters();
    }
    run_.model = model_.get();
    run_.adapter = adapter_.get();
    run_.arguments = {};
    run_.arguments.gradient_checkpointing = checkpointing;
    run_.arguments.compute = compute;
    run_.arguments.optimizer.name = optimizer;
  }

  std::unique_ptr<CausalLM> model_;
  std::unique_ptr<Adapter> adapter_;
  PlannedRun run_;
};

TEST_F(Rehearsed, AStepTakesWhatItsRehearsalSaid) {
  const Examples rows = rows_of({700, 300, 500});
  for (const char* adapter : {"", "LORA", "LOHA"})
    for (DType compute : {DType::kF32, DType::kBF16})
      for (bool checkpointing : {true, false}) {
        open(adapter, compute, checkpointing);
        const MemoryPlan plan = plan_memory(run_, rows);
        for (const Parameter* parameter : run_.trainables) ASSERT_FALSE(parameter->gradient.defined());
        HostMemory::instance().trim();
        const uint64_t before = held_memory().current;
        auto optimizer = make_optimizer(cpu_backend(), run_.trainables, run_.arguments.optimizer);
        Trainer trainer(*model_, cpu_backend(), single_process(), *optimizer, rows,
                        one_pass(run_.arguments, rows), {});
        trainer.rehearse(all_rows(rows));
        const double taken = static_cast<double>(held_memory().current - before);
        const double planned =
            static_cast<double>(plan.gradients + plan.optimizer + plan.activations + plan.head);
        // Scratch of earlier passes of this process is there already; oneDNN's own is not planned.
        EXPECT_NEAR(planned, taken, 0.1 * taken + 6e6)
            << adapter << " " << dtype_name(compute) << " checkpointing " << checkpointing;
        optimizer.reset();
        for (Parameter* parameter : run_.trainables) parameter->gradient = Tensor();
      }
}

TEST(EmbeddingShare, IsOfThePagesThatHoldTokensOfTheData) {
  Parameter table("model.embed_tokens.weight", {4096, 64});
  table.value = Tensor::zeros(table.shape, DType::kF32);  // a row is 256 bytes, 256 rows are read at once
  Example row{.ids = {0, 5, 255, 256, 3000}, .labels = {0, 5, 255, 256, 3000}, .lengths = {}};
  EXPECT_NEAR(embedding_share(table, std::vector<Example>{row}), 3.0 / 17, 1e-9);
}

TEST_F(Rehearsed, EveryOptimizersStateIsCounted) {
  const Examples rows = rows_of({40});
  for (const char* name : {"adamw", "adamw_8bit", "sgd", "adagrad", "rmsprop", "lion", "lion_8bit",
                           "adafactor", "muon", "schedule_free_adamw", "schedule_free_sgd"}) {
    open("", DType::kF32, true, name);
    const std::vector<float> first(model_->parameters()[0]->value.data<float>(),
                                   model_->parameters()[0]->value.data<float>() + 64);
    const MemoryPlan plan = plan_memory(run_, rows);
    EXPECT_TRUE(std::equal(first.begin(), first.end(), model_->parameters()[0]->value.data<float>())) << name;
    auto optimizer = make_optimizer(cpu_backend(), run_.trainables, run_.arguments.optimizer);
    const double state = static_cast<double>(optimizer->state_bytes());
    EXPECT_NEAR(static_cast<double>(plan.optimizer), state, 0.02 * state + 3e5) << name;
  }
}

TEST_F(Rehearsed, TheLargestBoundOfPassesThatFitsIsTaken) {
  open("LORA", DType::kF32, true);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 24; ++i) lengths.push_back(40 + i * 37 % 200);
  const Examples rows = rows_of(lengths);
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  run_.arguments.per_device_train_batch_size = 8;
  run_.lengths_vary = true;
  const Config config = load_config(parse_config_arguments({}), nullptr);
  auto needs = [&](int64_t bound) {
    TrainArguments a = run_.arguments;
    a.per_device_train_batch_tokens = bound;
    return plan_memory(run_, largest_pass(rows, a)).needs();
  };
  const int64_t all = passes_by_tokens(rows, run_.arguments).rbegin()->first;
  EXPECT_EQ(RunEstimate(config, run_, rows).bound_passes_by_memory(uint64_t{1} << 40), all);
  EXPECT_EQ(RunEstimate(config, run_, rows).bound_passes_by_memory(1), longest);
  const uint64_t bytes = (needs(longest) + needs(all)) / 2;
  RunEstimate estimate(config, run_, rows);
  const int64_t bound = estimate.bound_passes_by_memory(bytes / 9 * 10 + 10);
  EXPECT_GT(bound, longest);
  EXPECT_LT(bound, all);
  EXPECT_LE(estimate.memory().needs(), bytes);
  EXPECT_GT(needs(bound + 1), bytes);
}

TEST_F(Rehearsed, BlocksAreKeptWhereMemoryIsAmple) {
  open("LORA", DType::kF32, true);
  const Examples rows = rows_of({700, 300});
  const Config config = load_config(parse_config_arguments({}), nullptr);
  const uint64_t whole_blocks = plan_memory(run_, rows).needs();
  run_.arguments.gradient_checkpointing = false;
  run_.arguments.selective_checkpointing = true;
  const uint64_t selective = plan_memory(run_, rows).needs();
  ASSERT_GT(selective, whole_blocks);
  open("LORA", DType::kF32, true);
  run_.arguments.per_device_train_batch_size = 2;
  RunEstimate ample(config, run_, rows), scarce(config, run_, rows);
  EXPECT_TRUE(ample.keeps_blocks_by_memory(3 * selective));
  EXPECT_GT(ample.memory().needs(), whole_blocks);
  EXPECT_FALSE(scarce.keeps_blocks_by_memory(selective));
  EXPECT_LT(scarce.memory().needs(), ample.memory().needs());
}

TEST(Passes, AreThoseOfTheRunsOwnOrder) {
  const Examples rows = rows_of({10, 20, 30, 40, 50, 60, 70});
  TrainArguments a;
  a.per_device_train_batch_size = 2;
  a.num_train_epochs = 2;
  a.order = RowOrder::kFile;
  EXPECT_EQ(passes_by_tokens(rows, a), (std::map<int64_t, int64_t>{{30, 2}, {70, 4}, {110, 2}}));
  EXPECT_EQ(largest_pass(rows, a).size(), 2u);
  EXPECT_EQ(largest_pass(rows, a).length(1), 60);
  a.per_device_train_batch_tokens = 65;
  EXPECT_EQ(largest_pass(rows, a).length(0), 70) << "50 and 60 are two passes";
  a.max_steps = 1;
  EXPECT_EQ(largest_pass(rows, a).length(0), 10);
  a = {};
  a.per_device_train_batch_size = 3;
  int64_t tokens = 0;
  for (const auto& [length, count] : passes_by_tokens(rows, a)) tokens += length * count;
  EXPECT_EQ(tokens, 3 * 280) << "three epochs, shuffled";
  EXPECT_EQ(cut_to(rows, 25).length(6), 25);
  EXPECT_EQ(cut_to(rows, 25).length(0), 10);
}

TEST(TimePlan, ReadsBetweenWhatWasMeasured) {
  const std::map<int64_t, double> measured = {{100, 1.0}, {300, 2.0}, {1000, 9.0}};
  EXPECT_DOUBLE_EQ(pass_seconds(measured, 300), 2.0);
  EXPECT_DOUBLE_EQ(pass_seconds(measured, 200), 1.5);
  EXPECT_DOUBLE_EQ(pass_seconds(measured, 1000), 9.0);
  EXPECT_DOUBLE_EQ(pass_seconds(measured, 10), 1.0 - 90 * 8.0 / 900);
  EXPECT_DOUBLE_EQ(pass_seconds(measured, 1900), 17.0);
  EXPECT_DOUBLE_EQ(pass_seconds({{100, 1.0}, {110, 0.9}}, 220), 1.8) << "noise is no slope";
  EXPECT_DOUBLE_EQ(pass_seconds({{100, 1.0}}, 50), 0.5);
}

class EstimateCommand : public ::testing::Test {
 protected:
  std::vector<std::string> words(const std::string& command, const std::vector<std::string>& more) const {
    std::vector<std::string> all = {command,
                                    "model_name_or_path=" + (quickstart_ / "base").string(),
                                    "dataset=counselling",
                                    "dataset_dir=" + (quickstart_ / "data").string(),
                                    "template=chatml",
                                    "threads=1",
                                    "output_dir=" + (folder_ / "out").string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  fs::path quickstart_ = test::source_dir() / "examples/quickstart";
  test::TempDir folder_;
};

TEST_F(EstimateCommand, SaysMemoryChangesDeviceTimeAndDiskAndLeavesNothing) {
  ProcessResult run = test::run_fettle(words(
      "estimate", {"max_samples=24", "val_size=0.25", "eval_strategy=epoch", "gradient_checkpointing=false",
                   "finetuning_type=full", "optim=paged_adamw_32bit", "--device-memory", "24GB"}));
  ASSERT_EQ(run.code, 0) << run.err;
  for (const char* part : {"base weights", "optimizer state", "predicted peak", "fits into the", "17.5",
                           "gradient_checkpointing=true", "gradient_checkpointing=selective",
                           "gradient_accumulation_steps=8", "optim=adamw_8bit", "A GPU of 24.0 GB", "it fits",
                           "not measured", "3 evaluations", "tokens/s", "a checkpoint takes"})
    EXPECT_THAT(run.out, HasSubstr(part));
  EXPECT_THAT(run.out, testing::Not(HasSubstr("quantization_bit"))) << "not for full fine-tuning";
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  run = test::run_fettle(words("estimate", {"--no-time", "--device-memory", "900 MiB"}));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("it does not fit"));
  EXPECT_THAT(run.out, testing::Not(HasSubstr("tokens/s")));
  run = test::run_fettle(words("estimate", {"--device-memory", "24 potatoes"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("--device-memory"));
}

TEST_F(EstimateCommand, ARunBeyondItsLimitOfAddressSpaceIsRefusedUnlessForced) {
  auto limited = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"-c", "ulimit -v 1200000; exec \"$0\" \"$@\"",
                                          test::fettle_binary().string()};
    for (const std::string& word : words("train", more)) arguments.push_back(word);
    return test::run_program("/bin/sh", arguments);
  };
  const std::vector<std::string> large = {"finetuning_type=full",
                                          "gradient_checkpointing=false",
                                          "per_device_train_batch_size=250",
                                          "max_steps=1",
                                          "plot_loss=false",
                                          "save_strategy=no"};
  ProcessResult run = limited(large);
  EXPECT_EQ(run.code, 4) << run.err;
  EXPECT_THAT(run.err, testing::AnyOf(HasSubstr("memory_check=warn"), HasSubstr("out of memory")));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  run = limited({"max_steps=1", "per_device_train_batch_size=1", "plot_loss=false", "save_strategy=no"});
  EXPECT_EQ(run.code, 0) << run.err;
}

}  // namespace
}  // namespace fettle
