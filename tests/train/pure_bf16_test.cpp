// Trained weights in bf16: rounding that is right on average, runs that learn and resume to the bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/base/threads.h"
#include "fettle/formats/safetensors.h"
#include "fettle/train/optimizers/optimizer.h"
#include "support.h"

namespace fettle {
namespace {

TEST(RoundAtRandom, IsRightOnAverageAndDependsOnThePlaceAlone) {
  const int64_t n = 1 << 17;
  const float value = 1.0f + 0.3f / 128;  // 0.3 of the way between two neighbours of bf16
  Tensor values = Tensor::empty({n}, DType::kF32), out = Tensor::empty({n}, DType::kBF16),
         again = Tensor::empty({n}, DType::kBF16);
  for (float& v : values.span<float>()) v = value;
  values.data<float>()[3] = INFINITY;
  values.data<float>()[4] = -NAN;
  values.data<float>()[5] = 0.0f;
  RandomKey key{7, RandomUse::kRounding, 2, 5};
  round_at_random(values, key, out);
  Tensor wide = out.to(DType::kF32);
  EXPECT_EQ(wide.data<float>()[3], INFINITY);
  EXPECT_TRUE(std::isnan(wide.data<float>()[4]));
  EXPECT_EQ(wide.data<float>()[5], 0.0f);
  int64_t up = 0;
  for (int64_t i = 8; i < n; ++i) {
    const float v = wide.data<float>()[i];
    ASSERT_TRUE(v == 1.0f || v == 1.0f + 1.0f / 128) << v;
    up += v > 1.0f;
  }
  EXPECT_NEAR(static_cast<double>(up) / static_cast<double>(n - 8), 0.3, 0.006);
  const int threads = thread_count();
  set_thread_count(1);
  round_at_random(values, key, again);
  set_thread_count(threads);
  EXPECT_EQ(std::memcmp(out.raw(), again.raw(), out.nbytes()), 0);
  key.step = 6;
  round_at_random(values, key, again);
  EXPECT_NE(std::memcmp(out.raw(), again.raw(), out.nbytes()), 0);
}

TEST(PureBf16, LearnsAndResumesToTheBit) {
  const std::filesystem::path quickstart = test::source_dir() / "examples/quickstart";
  test::TempDir dir;
  auto train = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words = {"train",
                                      "model_name_or_path=" + (quickstart / "base").string(),
                                      "dataset=counselling",
                                      "dataset_dir=" + (quickstart / "data").string(),
                                      "template=chatml",
                                      "max_samples=32",
                                      "cutoff_len=64",
                                      "max_steps=12",
                                      "learning_rate=0.001",
                                      "logging_steps=1",
                                      "save_steps=6",
                                      "threads=1",
                                      "plot_loss=false",
                                      "pure_bf16=true",
                                      "output_dir=" + (dir / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_fettle(words);
  };
  test::ProcessResult whole = train("whole", {"finetuning_type=full"});
  ASSERT_EQ(whole.code, 0) << whole.err;
  const Json state = read_json(dir / "whole" / "trainer_state.json");
  std::vector<double> losses;
  for (const Json& entry : state["log_history"])
    if (entry.contains("loss")) losses.push_back(entry["loss"]);
  EXPECT_LT(losses.back(), 0.8 * losses.front());
  SafetensorsFile checkpoint(dir / "whole" / "checkpoint-6" / "optimizer.safetensors");
  EXPECT_EQ(checkpoint.tensors().at("model.norm.weight").dtype, DType::kBF16);
  ASSERT_EQ(train("cut", {"finetuning_type=full", "stop_at_step=6"}).code, 75);
  ASSERT_EQ(train("cut", {"finetuning_type=full", "resume_from_checkpoint=true"}).code, 0);
  EXPECT_EQ(test::read_text(dir / "cut" / "model.safetensors"),
            test::read_text(dir / "whole" / "model.safetensors"));
  EXPECT_EQ(train("frozen", {"finetuning_type=freeze", "freeze_trainable_layers=1", "optim=adamw_8bit"}).code,
            0);
  EXPECT_THAT(
      train("free", {"finetuning_type=full", "optim=schedule_free_adamw", "lr_scheduler_type=constant"}).err,
      testing::HasSubstr("have to be f32"));
  EXPECT_THAT(train("lora", {"finetuning_type=lora"}).err, testing::HasSubstr("pure_bf16"))
      << "adapters are f32";
}

}  // namespace
}  // namespace fettle
