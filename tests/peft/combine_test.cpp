// Several adapters together: combining against PEFT's add_weighted_adapter, adapters by name, by weight and
// by row, conversion and extraction. Fixtures: tools/golden/make_combined.py.
#include "fettle/peft/combine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "fettle/models/saver.h"
#include "fettle/peft/adapter_set.h"
#include "fettle/peft/convert.h"
#include "fettle/peft/low_rank.h"
#include "fettle/peft/merge.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

fs::path combined_dir() {
  return test::golden_dir() / "combined";
}
fs::path llama_dir() {
  return test::golden_dir() / "models/llama";
}

std::unique_ptr<CausalLM> load_llama() {
  std::vector<std::string> notes;
  return load_model(llama_dir(), {.compute = DType::kF32, .progress = {}}, notes);
}

Tensor logits(CausalLM& model, const std::vector<int32_t>& ids) {
  Context context{.backend = &cpu_backend(), .compute = DType::kF32};
  return model.logits(context, model.hidden_states(context, make_input({ids}))).value;
}

double distance(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.shape(), want.shape());
  double largest = 1e-6, most = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(want.data<float>()[i])));
    most = std::max(most, static_cast<double>(std::abs(got.data<float>()[i] - want.data<float>()[i])));
  }
  return most / largest;
}

Tensor change(const LoraPair& pair) {
  Tensor out = Tensor::zeros({pair.b.dim(0), pair.a.dim(1)}, DType::kF32);
  cpu_backend().matmul({.a = &pair.b, .b = &pair.a, .out = &out, .alpha = static_cast<float>(pair.scale)});
  return out;
}

std::string usage_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<LoraFolder> both() {
  return {read_lora_folder(combined_dir() / "one"), read_lora_folder(combined_dir() / "two")};
}

TEST(Combine, EveryMethodChangesTheWeightsAsPefts) {
  SafetensorsFile reference(combined_dir() / "golden.safetensors");
  Json golden = read_json(combined_dir() / "golden.json");
  int compared = 0;
  for (const auto& [name, keys] : golden["cases"].items()) {
    CombineOptions options{.method = keys["combination_type"], .weights = keys["weights"]};
    options.svd_rank = keys.value("svd_rank", 0);
    options.density = keys.value("density", 0.5);
    options.by_frequency = keys.value("majority_sign_method", "total") == "frequency";
    LoraFolder combined = combine_adapters(both(), options);
    EXPECT_EQ(combined.pairs.size(), 8u) << name;  // four kinds of modules in two layers
    for (const LoraPair& pair : combined.pairs) {
      EXPECT_LE(distance(change(pair), reference.tensor(name + "." + pair.module)), 2e-5)
          << name << " " << pair.module;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 96);
}

TEST(Combine, DropsAtRandomWithTheRightMeanAndTheSameBitsForASeed) {
  CombineOptions options{.method = "dare_linear", .weights = {1, 0}, .density = 0.5};
  LoraFolder one = combine_adapters(both(), options), again = combine_adapters(both(), options);
  options.seed = 7;
  LoraFolder other = combine_adapters(both(), options);
  const Tensor& a = one.pairs[0].a;
  int64_t zeros = 0;
  for (int64_t i = 0; i < a.numel(); ++i) zeros += a.data<float>()[i] == 0;
  EXPECT_NEAR(static_cast<double>(zeros) / static_cast<double>(a.numel()), 0.5, 0.15);
  EXPECT_EQ(std::memcmp(a.raw(), again.pairs[0].a.raw(), a.nbytes()), 0);
  EXPECT_NE(std::memcmp(a.raw(), other.pairs[0].a.raw(), a.nbytes()), 0);
}

TEST(Combine, MistakesAreNamed) {
  EXPECT_NE(usage_error([] {
              combine_adapters(both(), {.method = "blend", .weights = {1, 1}});
            }).find("known: svd"),
            std::string::npos);
  EXPECT_NE(usage_error([] {
              combine_adapters(both(), {.method = "linear", .weights = {1}});
            }).find("1 weights for 2"),
            std::string::npos);
  std::vector<LoraFolder> folders = both();
  folders[1] = convert_to_lora(combined_dir() / "two", "", 2).lora;
  EXPECT_NE(usage_error([&] {
              combine_adapters(folders, {.method = "linear", .weights = {1, 1}});
            }).find("equal ranks"),
            std::string::npos);
  EXPECT_NE(usage_error([] { read_lora_folder(test::golden_dir() / "methods/llama/dora"); }).find("use_dora"),
            std::string::npos);
  EXPECT_NE(usage_error([] { read_lora_folder(test::golden_dir() / "methods/llama/ia3"); }).find("IA3"),
            std::string::npos);
}

TEST(AdapterSet, SwitchesStacksWeighsAndUnloads) {
  SafetensorsFile reference(combined_dir() / "golden.safetensors");
  Json golden = read_json(combined_dir() / "golden.json");
  std::vector<int32_t> row = golden["rows"][0];
  auto model = load_llama();
  Tensor plain = logits(*model, row);
  {
    AdapterSet set(*model);
    set.load("one", combined_dir() / "one");
    set.load("two", combined_dir() / "two");
    EXPECT_EQ(distance(logits(*model, row), plain), 0) << "nothing is in use yet";
    set.use({{"one"}});
    EXPECT_LE(distance(logits(*model, row), reference.tensor("rows.0")), 1e-4);
    set.use({{"one", 0.25}, {"two"}});
    Tensor weighted = logits(*model, row);
    EXPECT_LE(distance(weighted, reference.tensor("weighted.0")), 1e-4);
    test::TempDir dir;
    merge_to_folder(*model, llama_dir(), dir / "merged", 1 << 30, {});
    std::vector<std::string> notes;
    auto merged = load_model(dir / "merged", {.compute = DType::kF32, .progress = {}}, notes);
    EXPECT_LE(distance(logits(*merged, row), weighted), 1e-4);
    set.unload("one");
    EXPECT_EQ(set.names(), std::vector<std::string>{"two"});
    EXPECT_NE(
        usage_error([&] { set.use({{"one"}}); }).find("no adapter named \"one\" is loaded; loaded: two"),
        std::string::npos);
    EXPECT_NE(usage_error([&] { set.load("two", combined_dir() / "one"); }).find("already"),
              std::string::npos);
  }
  EXPECT_EQ(distance(logits(*model, row), plain), 0);
}

TEST(AdapterSet, AWeightMixesTheOutputsOfOtherMethods) {
  std::vector<int32_t> row = read_json(combined_dir() / "golden.json")["rows"][0];
  auto model = load_llama();
  for (const char* method : {"ia3", "loha", "dora", "oft"}) {
    AdapterSet set(*model);
    set.load("it", test::golden_dir() / "methods/llama" / method);
    Tensor plain = logits(*model, row);
    set.use({{"it", 1}});
    Tensor whole = logits(*model, row);
    set.use({{"it", 0}});
    EXPECT_LE(distance(logits(*model, row), plain), 1e-5) << method;
    set.use({{"it", 0.999}});
    EXPECT_LE(distance(logits(*model, row), whole), 1e-2) << method;
    set.use({{"it", 0.5}});
    Tensor half = logits(*model, row);
    test::TempDir dir;
    merge_to_folder(*model, llama_dir(), dir / "merged", 1 << 30, {});
    std::vector<std::string> notes;
    auto merged = load_model(dir / "merged", {.compute = DType::kF32, .progress = {}}, notes);
    EXPECT_LE(distance(logits(*merged, row), half), 1e-4) << method;
  }
}

TEST(AdapterSet, WhatActsBesideLinearsStandsAlone) {
  auto model = load_llama();
  AdapterSet set(*model);
  fs::path methods = test::golden_dir() / "methods/llama";
  set.load("prompt", methods / "prompt-tuning");
  set.load("saved", methods / "lora-modules-to-save");
  set.load("one", combined_dir() / "one");
  EXPECT_NE(usage_error([&] { set.use({{"prompt"}, {"saved"}}); }).find("together"), std::string::npos);
  EXPECT_NE(usage_error([&] { set.use({{"saved", 0.5}}); }).find("cannot have a weight"), std::string::npos);
  EXPECT_NE(usage_error([&] { set.route(3, {"prompt"}); }).find("single rows"), std::string::npos);
  // Switching between adapters that put their own weights in the place of the base's.
  std::vector<int32_t> row = read_json(combined_dir() / "golden.json")["rows"][0];
  set.use({});
  Tensor plain = logits(*model, row);
  set.load("norms", methods / "ln-tuning");
  set.use({{"norms"}});
  EXPECT_GT(distance(logits(*model, row), plain), 1e-3);
  set.use({{"saved"}});
  set.unload("saved");
  EXPECT_EQ(distance(logits(*model, row), plain), 0);
}

TEST(AdapterSet, RowsOfOneBatchUseDifferentAdapters) {
  SafetensorsFile reference(combined_dir() / "golden.safetensors");
  std::vector<std::vector<int32_t>> rows = read_json(combined_dir() / "golden.json")["rows"];
  auto model = load_llama();
  AdapterSet set(*model);
  set.load("one", combined_dir() / "one");
  set.load("two", combined_dir() / "two");
  set.use({{"two"}});
  const int64_t n = static_cast<int64_t>(rows[0].size());
  std::vector<AdapterRoute> routes = {set.route(n, {"one"}), set.route(2 * n, {"two"}), set.route(3 * n, {})};
  Context context{.backend = &cpu_backend(), .compute = DType::kF32, .routes = routes};
  Var hidden = model->hidden_states(context, make_input(rows));
  Tensor all = model->logits(context, hidden).value;
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_LE(distance(all.rows_view(i * n, (i + 1) * n), reference.tensor("rows." + std::to_string(i))),
              1e-4)
        << i;
  EXPECT_LE(distance(logits(*model, rows[1]), reference.tensor("rows.1")), 1e-4) << "use() is as it was";
}

TEST(Convert, MakesPlainLoraOfEveryMethodOnLinears) {
  std::vector<int32_t> row = read_json(combined_dir() / "golden.json")["rows"][0];
  for (const char* method : {"lora-rslora-patterns", "lora-pissa", "lora-olora", "dora", "adalora", "loha",
                             "lokr", "ia3", "vera", "oft", "boft"}) {
    fs::path folder = test::golden_dir() / "methods/llama" / method;
    auto model = load_llama();
    Tensor want;
    {
      auto adapter = Adapter::load(*model, folder);
      want = logits(*model, row);
    }
    test::TempDir dir;
    Extraction extraction =
        convert_to_lora(folder, llama_dir(), 32);  // the full rank of these little weights
    EXPECT_GT(extraction.kept, 1 - 1e-6) << method;
    write_lora_folder(extraction.lora, dir.path(), DType::kF32);
    auto adapter = Adapter::load(*model, dir.path());
    EXPECT_LE(distance(logits(*model, row), want), 5e-4) << method;
  }
}

TEST(Convert, OfALoraKeepsItsFactorsOrReducesThem) {
  LoraFolder one = read_lora_folder(combined_dir() / "one");
  Extraction same = convert_to_lora(combined_dir() / "one", "", 0);
  EXPECT_EQ(same.kept, 1);
  EXPECT_LE(distance(change(same.lora.pairs[0]), change(one.pairs[0])), 1e-6);
  Extraction less = convert_to_lora(combined_dir() / "one", "", 2);
  EXPECT_EQ(less.lora.pairs[0].rank(), 2);
  EXPECT_GT(less.kept, 0.5);
  EXPECT_LT(less.kept, 1);
  Triplets t = product_triplets(one.pairs[0].b, one.pairs[0].a, 4);
  double all = 0, two = 0;
  for (int i = 0; i < 4; ++i) {
    double s = t.s.data<float>()[i];
    all += s * s;
    if (i < 2) two += s * s;
  }
  Tensor rest = change(less.lora.pairs[0]);
  cpu_backend().axpy(-1.0f, change(one.pairs[0]), rest);
  EXPECT_NEAR(cpu_backend().sum_squares(rest) / (all * one.pairs[0].scale * one.pairs[0].scale),
              1 - two / all, 1e-4);
}

TEST(Extract, FindsTheLoraThatWasMergedIntoAModel) {
  test::TempDir dir;
  auto model = load_llama();
  std::vector<int32_t> row = read_json(combined_dir() / "golden.json")["rows"][0];
  Tensor want;
  {
    auto adapter = Adapter::load(*model, combined_dir() / "one");
    want = logits(*model, row);
    merge_to_folder(*model, llama_dir(), dir / "tuned", 1 << 30, {});
  }
  Extraction extraction = extract_lora(llama_dir(), dir / "tuned", 4, {}, {});
  EXPECT_EQ(extraction.lora.pairs.size(), 6u) << "only what differs";
  EXPECT_GT(extraction.kept, 1 - 1e-5);
  EXPECT_TRUE(extraction.left_out.empty());
  fs::create_directory(dir / "adapter");
  write_lora_folder(extraction.lora, dir / "adapter", DType::kF32);
  auto adapter = Adapter::load(*model, dir / "adapter");
  EXPECT_LE(distance(logits(*model, row), want), 1e-4);
  Extraction few = extract_lora(llama_dir(), dir / "tuned", 4, {"q_proj"}, {});
  EXPECT_EQ(few.lora.pairs.size(), 2u);
  EXPECT_EQ(few.left_out.size(), 4u);
  EXPECT_NE(usage_error([&] { extract_lora(llama_dir(), llama_dir(), 4, {}, {}); }).find("differs"),
            std::string::npos);
}

}  // namespace
}  // namespace fettle
