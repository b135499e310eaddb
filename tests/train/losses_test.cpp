// Shaped losses and the plateau schedule against torch and transformers; the order of rows and passes.
// Fixture: tools/golden/make_losses.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "fettle/autograd/ops.h"
#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/train/evaluation.h"
#include "fettle/train/sampler.h"
#include "fettle/train/schedule.h"
#include "support.h"

namespace fettle {
namespace {

Json fixture() {
  return read_json(test::golden_dir() / "train" / "losses.json");
}

TEST(Losses, SmoothedAndDynamicOnesAreTheReferences) {
  const Json golden = fixture();
  const std::vector<float> values = golden["logits"];
  const std::vector<int32_t> labels = golden["labels"];
  const int64_t rows = static_cast<int64_t>(labels.size()),
                vocab = static_cast<int64_t>(values.size()) / rows;
  const int64_t labelled =
      std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label >= 0; });
  auto check = [&](const LossShape& shape, const Json& want, const std::string& name) {
    for (Backend* backend : {&cpu_backend(), &reference_backend()}) {
      Tensor logits = Tensor::empty({rows, vocab}, DType::kF32);
      std::copy(values.begin(), values.end(), logits.data<float>());
      Tape tape;
      Context context{.backend = backend, .tape = &tape};
      Var leaf(logits, true);
      RowOutcome outcome;
      double loss = linear_cross_entropy(
          context, leaf, [](Context&, const Var& h) { return reshape(h, h.value.shape()); }, vocab, labels,
          1.0f / static_cast<float>(labelled), false, shape, &outcome);
      tape.backward();
      EXPECT_NEAR(loss / static_cast<double>(labelled), want["loss"].get<double>(), 1e-5) << name;
      const Tensor gradient = leaf.slot->gradient();
      for (int64_t i = 0; i < rows * vocab; ++i)
        EXPECT_NEAR(gradient.data<float>()[i], want["gradient"][static_cast<size_t>(i)].get<double>(), 1e-5)
            << name;
      ASSERT_EQ(outcome.best.size(), static_cast<size_t>(labelled));
      size_t at = 0;
      for (int64_t r = 0; r < rows; ++r)
        if (labels[static_cast<size_t>(r)] >= 0) {
          auto first = values.begin() + r * vocab;
          EXPECT_EQ(outcome.best[at++], std::max_element(first, first + vocab) - first);
        }
    }
  };
  for (const auto& [epsilon, want] : golden["smoothing"].items())
    check({.label_smoothing = std::stof(epsilon)}, want, "smoothing " + epsilon);
  check({.dft = true}, golden["dft"], "dft");
}

TEST(Plateau, RatesAreTorchs) {
  const Json golden = fixture();
  for (const Json& course : golden["plateau"]) {
    const Json options = course["options"];
    const PlateauRule rule = make_plateau_rule(&options);
    PlateauState state{.rate = 1.0};
    for (size_t i = 0; i < course["metrics"].size(); ++i) {
      rule.see(course["metrics"][i], state);
      EXPECT_DOUBLE_EQ(state.rate, course["rates"][i].get<double>()) << options.dump() << " at " << i;
    }
  }
  for (const char* bad :
       {R"({"mode": "up"})", R"({"factor": 1})", R"({"patience": -1})", R"({"gamma": 2})"}) {
    const Json options = Json::parse(bad);
    EXPECT_THROW(make_plateau_rule(&options), Error) << bad;
  }
}

Examples rows_of(const std::vector<int64_t>& lengths) {
  Examples examples;
  for (int64_t length : lengths)
    examples.append({std::vector<int32_t>(static_cast<size_t>(length), 1),
                     std::vector<int32_t>(static_cast<size_t>(length), 1),
                     {}},
                    "");
  return examples;
}

TEST(Sampler, GroupsByLengthWithoutLosingRows) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 230; ++i) lengths.push_back(1 + (i * 37) % 101);
  Examples examples = rows_of(lengths);
  std::vector<int64_t> order = epoch_order(examples, RowOrder::kByLength, 4, 42, 0);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), lengths.size());
  EXPECT_EQ(examples.length(static_cast<size_t>(order[0])),
            *std::max_element(lengths.begin(), lengths.end()));
  // Runs of min(230 / 16, 50) batches of 4; within one only the first row may be out of order.
  const size_t run = 14 * 4;
  for (size_t i = 1; i < order.size(); ++i)
    if (i % run > 1) {
      EXPECT_LE(examples.length(static_cast<size_t>(order[i])),
                examples.length(static_cast<size_t>(order[i - 1])))
          << i;
    }
  EXPECT_NE(order, epoch_order(examples, RowOrder::kByLength, 4, 42, 1));
  EXPECT_EQ(order, epoch_order(examples, RowOrder::kByLength, 4, 42, 0));
}

TEST(Sampler, PassesHoldTheBounds) {
  Examples examples = rows_of({5, 3, 9, 2, 2, 2, 12, 1});
  std::vector<int64_t> rows(8);
  std::iota(rows.begin(), rows.end(), 0);
  auto cut = [&](int64_t most_rows, int64_t most_tokens) {
    std::string text;
    for (std::span<const int64_t> pass : cut_passes(examples, rows, most_rows, most_tokens))
      text += std::to_string(pass.size()) + " ";
    return text;
  };
  EXPECT_EQ(cut(3, 0), "3 3 2 ");
  EXPECT_EQ(cut(3, 10), "2 1 3 1 1 ");  // 12 tokens stand alone though they are over the bound
  EXPECT_EQ(cut(8, 1), "1 1 1 1 1 1 1 1 ");
}

TEST(SplitAnswer, TakesTheLastRunOfLabels) {
  std::vector<int32_t> prompt, answer;
  EXPECT_TRUE(split_answer({{1, 2, 3, 4, 5, 6}, {-100, 2, -100, 4, 5, -100}, {}}, prompt, answer));
  EXPECT_EQ(prompt, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(answer, (std::vector<int32_t>{4, 5}));
  EXPECT_FALSE(split_answer({{1, 2}, {1, 2}, {}}, prompt, answer));
  EXPECT_FALSE(split_answer({{1, 2}, {-100, -100}, {}}, prompt, answer));
}

}  // namespace
}  // namespace fettle
