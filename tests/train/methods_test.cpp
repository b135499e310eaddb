// Every finetuning_type by the program itself: it trains, a killed run goes on bit for bit, the result
// generates and merges.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;

struct Method {
  const char* name;
  std::vector<std::string> options;
  bool merges = true;
};

class Methods : public ::testing::TestWithParam<Method> {
 protected:
  ProcessResult train(const std::string& name, std::vector<std::string> more = {},
                      const std::string& failpoint = "") {
    std::vector<std::string> words = {"train",
                                      "model_name_or_path=" + (base_ / "base").string(),
                                      "dataset=counselling",
                                      "dataset_dir=" + (base_ / "data").string(),
                                      "template=chatml",
                                      "max_samples=12",
                                      "cutoff_len=48",
                                      "per_device_train_batch_size=2",
                                      "gradient_accumulation_steps=2",
                                      "num_train_epochs=2",
                                      "learning_rate=0.01",
                                      "logging_steps=1",
                                      "save_steps=2",
                                      "threads=1",
                                      "plot_loss=false",
                                      "output_dir=" + (folder_ / name).string()};
    words.insert(words.end(), GetParam().options.begin(), GetParam().options.end());
    words.insert(words.end(), more.begin(), more.end());
    std::vector<std::string> environment;
    if (!failpoint.empty()) environment.push_back("FETTLE_FAILPOINT=" + failpoint);
    return test::run_fettle(words, environment);
  }
  std::string weights(const std::string& name) const {
    for (const char* file : {"adapter_model.safetensors", "adapter.safetensors"})
      if (fs::exists(folder_ / name / file)) return test::read_text(folder_ / name / file);
    return test::read_text(folder_ / name / "model.safetensors");
  }

  fs::path base_ = test::source_dir() / "examples/quickstart";
  test::TempDir folder_;
};

TEST_P(Methods, TrainsResumesGeneratesAndMerges) {
  ProcessResult whole = train("whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  Json log = read_json(folder_ / "whole" / "trainer_state.json")["log_history"];
  EXPECT_LT(log[5]["loss"].get<double>(), log[0]["loss"].get<double>())
      << "6 steps on 12 rows lower the loss";

  ASSERT_EQ(train("broken", {}, "step:5").code, 128 + 9);
  ProcessResult resumed = train("broken", {"resume_from_checkpoint=true"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_TRUE(weights("broken") == weights("whole"));

  const bool adapter = fs::exists(folder_ / "whole" / "adapter_config.json");
  std::string model = (adapter ? base_ / "base" : folder_ / "whole").string();
  std::vector<std::string> words = {"generate", "--model",  model,  "--max-new-tokens",
                                    "3",        "--prompt", "Hello"};
  if (adapter) words.insert(words.end(), {"--adapter", (folder_ / "whole").string()});
  ProcessResult generated = test::run_fettle(words);
  EXPECT_EQ(generated.code, 0) << generated.err;
  if (!adapter) return;

  ProcessResult merged = test::run_fettle({"export", "model_name_or_path=" + (base_ / "base").string(),
                                           "adapter_name_or_path=" + (folder_ / "whole").string(),
                                           "export_dir=" + (folder_ / "merged").string()});
  EXPECT_EQ(merged.code, GetParam().merges ? 0 : 2) << merged.err;
}

TEST(QuantisedFolder, TrainsGeneratesAndMergesOnlyWhenAsked) {
  test::TempDir dir;
  fs::path base = test::source_dir() / "examples/quickstart";
  std::string folder = (dir / "nf4").string();
  ProcessResult made = test::run_fettle({"quantize", "--model", (base / "base").string(), "-o", folder});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_LT(fs::file_size(dir / "nf4/model.safetensors"), fs::file_size(base / "base/model.safetensors"));
  ProcessResult again = test::run_fettle({"quantize", "--model", folder, "-o", (dir / "twice").string()});
  EXPECT_EQ(again.code, 2) << again.err;
  EXPECT_NE(again.err.find("already quantised"), std::string::npos) << again.err;

  std::vector<std::string> words = {"train",
                                    "model_name_or_path=" + folder,
                                    "dataset=counselling",
                                    "dataset_dir=" + (base / "data").string(),
                                    "template=chatml",
                                    "max_samples=4",
                                    "cutoff_len=48",
                                    "max_steps=2",
                                    "plot_loss=false",
                                    "output_dir=" + (dir / "adapter").string()};
  ProcessResult trained = test::run_fettle(words);
  ASSERT_EQ(trained.code, 0) << trained.err;
  words.back() = "output_dir=" + (dir / "full").string();
  words.push_back("finetuning_type=full");
  ProcessResult full = test::run_fettle(words);
  EXPECT_NE(full.code, 0);
  EXPECT_NE(full.err.find("quantised"), std::string::npos) << full.err;

  std::vector<std::string> merge = {"export", "model_name_or_path=" + folder,
                                    "adapter_name_or_path=" + (dir / "adapter").string(),
                                    "export_dir=" + (dir / "merged").string()};
  ProcessResult refused = test::run_fettle(merge);
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("export_dequantize=true"), std::string::npos) << refused.err;
  merge.push_back("export_dequantize=true");
  ProcessResult merged = test::run_fettle(merge);
  ASSERT_EQ(merged.code, 0) << merged.err;
  EXPECT_FALSE(read_json(dir / "merged/config.json").contains("quantization_config"));
  std::vector<std::string> one = {"generate", "--max-new-tokens", "6", "--prompt", "Hello", "--model"},
                           two = one;
  one.insert(one.end(), {folder, "--adapter", (dir / "adapter").string()});
  two.push_back((dir / "merged").string());
  EXPECT_EQ(test::run_fettle(one).out, test::run_fettle(two).out);
}

INSTANTIATE_TEST_SUITE_P(
    All, Methods,
    ::testing::Values(
        Method{"dora", {"finetuning_type=lora", "use_dora=true", "lora_rank=4", "lora_dropout=0.1"}},
        Method{"qlora", {"finetuning_type=lora", "quantization_bit=4", "lora_rank=4", "bf16=true"}},
        Method{"qlora_fp4",
               {"finetuning_type=lora", "quantization_bit=4", "quantization_type=fp4",
                "double_quantization=false", "quantization_blocksize=32", "use_dora=true", "lora_rank=4"}},
        Method{"lora_int8", {"finetuning_type=lora", "quantization_bit=8", "lora_rank=4"}},
        Method{"pissa", {"finetuning_type=lora", "pissa_init=true", "lora_rank=4", "pissa_iter=2"}},
        Method{"lora_plus", {"finetuning_type=lora", "loraplus_lr_ratio=4", "learning_rate=0.003"}},
        Method{"lora_everything",
               {"finetuning_type=lora", "lora_target=q_proj,embed_tokens", "additional_target=norm",
                "trainable_token_indices=3,4", "layers_to_transform=0", "rank_pattern={\"q_proj\": 2}"}},
        Method{"adalora", {"finetuning_type=adalora", "init_r=4", "target_r=2", "tinit=1", "tfinal=1"}},
        Method{"loha", {"finetuning_type=loha", "lora_rank=2", "module_dropout=0.2", "rank_dropout=0.1"}},
        Method{"lokr", {"finetuning_type=lokr", "lora_rank=2", "decompose_both=true"}},
        Method{"ia3", {"finetuning_type=ia3"}}, Method{"vera", {"finetuning_type=vera", "vera_rank=8"}},
        Method{"oft", {"finetuning_type=oft", "oft_block_size=8"}}, Method{"boft", {"finetuning_type=boft"}},
        Method{"ln_tuning", {"finetuning_type=ln_tuning"}},
        Method{"bitfit", {"finetuning_type=bitfit"}, false},
        Method{"trainable_tokens",
               {"finetuning_type=trainable_tokens", "trainable_token_indices=3,4,5,6,7,8,9"}},
        Method{"prompt_tuning",
               {"finetuning_type=prompt_tuning", "prompt_tuning_init=TEXT",
                "prompt_tuning_init_text=I feel sad today", "num_virtual_tokens=6"},
               false},
        Method{
            "p_tuning", {"finetuning_type=p_tuning", "num_virtual_tokens=4", "learning_rate=0.003"}, false},
        Method{"p_tuning_lstm",
               {"finetuning_type=p_tuning", "encoder_reparameterization_type=LSTM", "encoder_hidden_size=16",
                "encoder_dropout=0.1", "num_virtual_tokens=4"},
               false},
        Method{"prefix_tuning", {"finetuning_type=prefix_tuning", "num_virtual_tokens=4"}, false},
        Method{
            "prefix_projection",
            {"finetuning_type=prefix_tuning", "prefix_projection=true", "num_virtual_tokens=4", "bf16=true"},
            false},
        Method{"neftune", {"neftune_noise_alpha=5", "lora_rank=4", "bf16=true"}},
        Method{"houlsby",
               {"finetuning_type=bottleneck", "bottleneck_type=houlsby", "bottleneck_dropout=0.1"},
               false},
        Method{"parallel_adapterdrop",
               {"finetuning_type=adapter", "bottleneck_type=parallel", "adapterdrop_layers=1",
                "learning_rate=0.003"},
               false},
        Method{"paged_adamw_8bit", {"optim=paged_adamw_8bit", "lora_rank=16"}},
        Method{"sgd", {"optim=sgd", "optim_args=momentum=0.9", "learning_rate=0.2", "lora_rank=4"}},
        Method{"lion", {"optim=lion", "learning_rate=0.003", "lora_rank=4"}},
        Method{"adafactor", {"optim=adafactor", "lora_rank=4"}},
        Method{"muon", {"use_muon=true", "lora_rank=4"}},
        Method{"schedule_free",
               {"optim=schedule_free_adamw", "lr_scheduler_type=constant", "warmup_steps=2", "lora_rank=4"}},
        Method{"galore",
               {"finetuning_type=full", "use_galore=true", "galore_rank=4", "galore_update_interval=2",
                "learning_rate=0.003"}},
        Method{"apollo",
               {"finetuning_type=full", "optim=apollo_adamw", "optim_args=rank=4,scale=4",
                "learning_rate=0.003", "optim_target_modules=all-linear"}},
        Method{"freeze",
               {"finetuning_type=freeze", "freeze_trainable_layers=1", "freeze_extra_modules=norm"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(OverwritingARun, LeavesNoWeightsOfAnotherMethod) {
  test::TempDir folder;
  test::write_text(folder / "rows.jsonl",
                   "{\"input_ids\": [5, 17, 9, 40, 3, 22]}\n{\"input_ids\": [3, 22, 11, 8]}\n");
  auto train = [&](const std::string& type) {
    return test::run_fettle({"train", "model_name_or_path=" + (test::golden_dir() / "models/llama").string(),
                             "dataset=" + (folder / "rows.jsonl").string(),
                             "output_dir=" + (folder / "out").string(), "overwrite_output_dir=true",
                             "finetuning_type=" + type, "max_steps=1", "plot_loss=false", "threads=1"});
  };
  auto weights = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder / "out"))
      if (std::string name = entry.path().filename();
          name.starts_with("adapter") || name.starts_with("model") || name == "config.json")
        names.insert(name);
    return names;
  };
  using Names = std::set<std::string>;
  for (const auto& [type, names] :
       {std::pair("lora", Names{"adapter_config.json", "adapter_model.safetensors"}),
        std::pair("full", Names{"config.json", "model.safetensors"}),
        std::pair("bottleneck", Names{"adapter_config.json", "adapter.safetensors"}),
        std::pair("lora", Names{"adapter_config.json", "adapter_model.safetensors"})}) {
    ProcessResult run = train(type);
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(weights(), names) << type;
  }
}

}  // namespace
}  // namespace fettle
