// Going on from a checkpoint of transformers.Trainer. Fixture: tools/golden/make_trainer_checkpoint.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

using test::ProcessResult;
using testing::HasSubstr;

TEST(TrainerCheckpoint, GoesOnFromItsWeightsAndSaysWhatIsNew) {
  const std::filesystem::path checkpoint = test::golden_dir() / "train" / "trainer-checkpoint";
  const Json golden = read_json(checkpoint / "golden.json");
  test::TempDir dir;
  std::string rows;
  for (const Json& row : golden["rows"]) rows += Json{{"input_ids", row}}.dump() + "\n";
  test::write_text(dir / "rows.jsonl", rows);
  auto train = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words = {
        "train",
        "model_name_or_path=" + (test::golden_dir() / "models" / "llama").string(),
        "dataset=" + (dir / "rows.jsonl").string(),
        "output_dir=" + (dir / name).string(),
        "resume_from_checkpoint=" + checkpoint.string(),
        "lora_rank=2",
        "lora_alpha=4",
        "lora_target=q_proj,v_proj",
        "per_device_train_batch_size=8",
        "logging_steps=1",
        "plot_loss=false",
        "learning_rate=0",
        "disable_shuffling=true"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_fettle(words);
  };
  ProcessResult result = train("run", {"max_steps=4"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the optimizer starts anew"));
  const Json state = read_json(dir / "run" / "trainer_state.json");
  EXPECT_EQ(state["global_step"], 4);
  std::vector<double> losses;
  for (const Json& entry : state["log_history"])
    if (entry.contains("loss")) losses.push_back(entry["loss"]);
  ASSERT_EQ(losses.size(), 4u) << "two of Trainer's and two of ours";
  EXPECT_NEAR(losses[2], golden["loss"].get<double>(), 1e-4) << "the loss of its weights";
  EXPECT_THAT(train("short", {"max_steps=2"}).err, HasSubstr("stands at step 2, this run has 2 steps"));
  EXPECT_THAT(train("shape", {"max_steps=4", "lora_rank=3"}).err, HasSubstr("lora_A"));
  EXPECT_THAT(train("kind", {"max_steps=4", "finetuning_type=loha"}).err,
              HasSubstr("holds LORA, this run trains LOHA"));
  EXPECT_THAT(train("pissa", {"max_steps=4", "pissa_init=true"}).err, HasSubstr("cannot be repeated"));
}

}  // namespace
}  // namespace fettle
