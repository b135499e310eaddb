// Greedy decoding against transformers.generate, and sampling.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/infer/batch_generator.h"
#include "fettle/infer/score.h"
#include "fettle/models/loader.h"
#include "support.h"

namespace fettle {
namespace {

class GoldenGeneration : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenGeneration, GreedyTokensEqualTransformers) {
  std::filesystem::path folder = test::golden_dir() / "models" / GetParam();
  std::vector<std::string> notes;
  auto model = load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  Json golden = read_json(folder / "golden.json");
  Generator generator(*model, cpu_backend(), DType::kF32);
  for (const Json& c : golden["greedy"]) {
    GenerationOptions options;
    options.sampling.repetition_penalty = c["repetition_penalty"];
    options.max_new_tokens = static_cast<int64_t>(c["new_ids"].size());
    EXPECT_EQ(generator.generate(c["prompt"], options).ids, c["new_ids"].get<std::vector<int32_t>>());
    // A second turn finds the first in the cache and must not see anything stale.
    std::vector<int32_t> longer = c["prompt"];
    for (int32_t id : c["new_ids"]) longer.push_back(id);
    options.max_new_tokens = 4;
    Generation continued = generator.generate(longer, options);
    EXPECT_LT(continued.prompt_tokens_computed, static_cast<int64_t>(longer.size()));
    Generator fresh(*model, cpu_backend(), DType::kF32);
    EXPECT_EQ(continued.ids, fresh.generate(longer, options).ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenGeneration,
                         ::testing::Values("llama", "llama-linear", "llama-yarn", "qwen2", "qwen3", "mistral",
                                           "llama-bin", "gpt2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST(BatchGeneration, RowsEqualThoseGeneratedAlone) {
  std::filesystem::path folder = test::golden_dir() / "models/qwen2";
  std::vector<std::string> notes;
  auto model = load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  std::vector<BatchRequest> requests;
  std::vector<Generation> alone;
  Generator generator(*model, cpu_backend(), DType::kF32);
  for (int i = 0; i < 7; ++i) {
    BatchRequest request;
    for (int t = 0; t <= i; ++t) request.prompt.push_back(3 + 11 * i + 5 * t);
    request.options.max_new_tokens = 3 + 2 * (i % 4);
    request.options.sampling.do_sample = i % 2 == 1;
    request.options.stop_ids = {static_cast<int32_t>(20 + i)};
    generator.forget();
    alone.push_back(generator.generate(request.prompt, request.options));
    requests.push_back(request);
  }
  for (int64_t rows : {1, 3, 4}) {
    size_t finished = 0;
    std::vector<Generation> batch = generate_batch(*model, cpu_backend(), DType::kF32, requests, rows,
                                                   [&](size_t, const Generation&) { ++finished; });
    EXPECT_EQ(finished, requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(batch[i].ids, alone[i].ids) << "row " << i << " of a batch of " << rows;
      EXPECT_EQ(batch[i].reason, alone[i].reason);
    }
  }
}

TEST(Generation, RealModelTellsItsStory) {
  FETTLE_REQUIRE_ASSETS();
  std::filesystem::path folder = test::assets_dir() / "models" / "stories260K-hf";
  std::vector<std::string> notes;
  auto model = load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  Json golden = read_json(folder / "golden_numpy_f64.json");
  ASSERT_FALSE(golden.empty());
  std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  std::vector<float> scores = token_log_probabilities(*model, cpu_backend(), DType::kF32, ids);
  ASSERT_EQ(scores.size(), 4u);
  for (float score : scores) EXPECT_LT(score, 0.0f);
}

TEST(Sampling, FollowsTheProbabilities) {
  std::vector<float> base = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  RandomStream random({3, RandomUse::kSampling, 0, 0});
  auto draw = [&](SamplingOptions options, int n) {
    std::map<int32_t, double> share;
    for (int i = 0; i < n; ++i) {
      std::vector<float> logits = base;
      share[pick_token(logits, {}, options, random)] += 1.0 / n;
    }
    return share;
  };
  auto all = draw({.do_sample = true, .top_k = 0}, 20000);
  EXPECT_NEAR(all[0], 0.5, 0.02);
  EXPECT_NEAR(all[3], 0.05, 0.01);
  EXPECT_EQ(draw({.do_sample = true, .top_k = 2}, 2000).size(), 2u);
  EXPECT_EQ(draw({.do_sample = true, .top_k = 0, .top_p = 0.6}, 2000).size(),
            2u);  // 0.5 alone does not reach 0.6
  EXPECT_EQ(draw({.do_sample = true, .top_k = 0, .top_p = 0.01}, 200).size(),
            1u);  // the likeliest always stays
  EXPECT_GT(draw({.do_sample = true, .temperature = 0.3, .top_k = 0}, 2000)[0], 0.75);
}

TEST(Sampling, RepetitionPenaltyMovesBothSigns) {
  RandomStream random({3, RandomUse::kSampling, 0, 0});
  std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  std::vector<int32_t> history = {0, 2, 2};
  EXPECT_EQ(pick_token(logits, history, {.repetition_penalty = 1.3}, random), 1);
  EXPECT_FLOAT_EQ(logits[0], 2.0f / 1.3f);
  EXPECT_FLOAT_EQ(logits[2], -1.3f);
}

}  // namespace
}  // namespace fettle
