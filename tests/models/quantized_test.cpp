// Weights in 4 and 8 bits against bitsandbytes, and model folders that Transformers saved with them.
// Fixtures: tools/golden/make_quantized.py.
#include "fettle/kernels/quantized.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/safetensors.h"
#include "fettle/kernels/backend.h"
#include "fettle/models/loader.h"
#include "fettle/models/saver.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

fs::path quantized_dir() {
  return test::golden_dir() / "quantized";
}

void expect_bytes(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  ASSERT_EQ(got.nbytes(), want.nbytes()) << what;
  size_t differing = 0;
  for (size_t i = 0; i < got.nbytes(); ++i)
    differing += static_cast<const uint8_t*>(got.raw())[i] != static_cast<const uint8_t*>(want.raw())[i];
  EXPECT_EQ(differing, 0u) << what;
}

void expect_near(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  Tensor x = got.to(DType::kF32), y = want.to(DType::kF32);
  ASSERT_EQ(x.numel(), y.numel()) << what;
  double most = 0, largest = 1e-4;
  for (int64_t i = 0; i < x.numel(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(x.data<float>()[i]) - y.data<float>()[i]));
    largest = std::max(largest, std::abs(static_cast<double>(y.data<float>()[i])));
  }
  EXPECT_LE(most, tolerance * largest) << what;
}

TEST(Quantized, FourBitsAreThoseOfBitsandbytesForEveryBlockSizeDtypeAndTail) {
  SafetensorsFile file(quantized_dir() / "blocks.safetensors");
  expect_bytes(Tensor::from(dynamic_map(), {256}), file.tensor("dynamic_map").clone(), "dynamic map");
  int compared = 0;
  for (const auto& [key, info] : file.tensors()) {
    if (!key.ends_with(".values") || key.starts_with("int8")) continue;
    std::string name = key.substr(0, key.size() - 7);
    QuantKind kind = name.starts_with("nf4") ? QuantKind::kNF4 : QuantKind::kFP4;
    bool nested = name.ends_with("-nested");
    int64_t blocksize = std::stoll(name.substr(4));
    auto m = quantize_4bit(file.tensor(key), kind, blocksize, nested);
    expect_bytes(m->packed, file.tensor(name + ".packed"), name + " packed");
    if (!nested) {
      expect_bytes(m->absmax, file.tensor(name + ".absmax"), name + " absmax");
    } else {
      EXPECT_EQ(m->nested_offset, file.tensor(name + ".nested_offset").data<float>()[0]) << name;
      expect_bytes(m->nested_absmax, file.tensor(name + ".nested_absmax"), name + " nested absmax");
      expect_bytes(m->absmax, file.tensor(name + ".absmax"), name + " absmax");
    }
    expect_near(dequantize(*m), file.tensor(name + ".dequantized"), 1e-6, name + " dequantized");
    ++compared;
  }
  EXPECT_GT(compared, 60);
}

TEST(Quantized, EightBitsAreThoseOfBitsandbytes) {
  SafetensorsFile file(quantized_dir() / "blocks.safetensors");
  for (const char* shape : {"3x43", "24x64"}) {
    std::string name = std::string("int8.") + shape;
    auto m = quantize_8bit(file.tensor(name + ".values"));
    expect_bytes(m->packed, file.tensor(name + ".packed"), name);
    expect_bytes(m->absmax, file.tensor(name + ".absmax"), name);
  }
}

TEST(Quantized, ProductsWithFewAndManyRowsAreThoseOfTheDequantisedWeight) {
  std::vector<float> values(static_cast<size_t>(70 * 129));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.1f;
  Tensor weight = Tensor::from(values, {70, 129});
  for (int64_t rows : {1, 3, 40, 300}) {
    std::vector<float> in(static_cast<size_t>(rows * 129)), up(static_cast<size_t>(rows * 70));
    for (size_t i = 0; i < in.size(); ++i) in[i] = std::cos(static_cast<float>(i) * 0.3f);
    for (size_t i = 0; i < up.size(); ++i) up[i] = std::cos(static_cast<float>(i) * 0.11f);
    Tensor x = Tensor::from(in, {rows, 129}), g = Tensor::from(up, {rows, 70});
    for (bool eight : {false, true}) {
      auto m = eight ? quantize_8bit(weight) : quantize_4bit(weight, QuantKind::kNF4, 64, true);
      Tensor dense = dequantize(*m);
      for (bool transpose : {true, false}) {  // forward: x W^T; backward: g W
        const Tensor& a = transpose ? x : g;
        Tensor want = Tensor::empty({rows, transpose ? 70 : 129}, DType::kF32), got = want.clone();
        cpu_backend().matmul({.a = &a, .b = &dense, .out = &want, .transpose_b = transpose});
        cpu_backend().matmul({.a = &a, .quantized_b = m.get(), .out = &got, .transpose_b = transpose});
        expect_near(got, want, 1e-5, fmt::format("{} rows, {}", rows, transpose ? "forward" : "backward"));
      }
    }
  }
}

std::unique_ptr<CausalLM> load(const fs::path& folder, std::optional<QuantizeOptions> quantize = {}) {
  std::vector<std::string> notes;
  auto model = load_model(folder, {.compute = DType::kF32, .quantize = quantize, .progress = {}}, notes);
  EXPECT_TRUE(notes.empty()) << notes[0];
  return model;
}

Tensor logits(CausalLM& model, const std::vector<int32_t>& row) {
  Context context{.backend = &cpu_backend(), .compute = DType::kF32};
  return model.logits(context, model.hidden_states(context, make_input({row}))).value;
}

class QuantizedFolder : public ::testing::TestWithParam<std::string> {
 protected:
  fs::path folder() const { return quantized_dir() / ("llama-" + GetParam()); }
  std::vector<int32_t> row() const { return read_json(folder() / "golden.json")["row"]; }
  QuantizeOptions options() const {
    return {.bits = GetParam() == "int8" ? 8 : 4,
            .kind = GetParam() == "fp4" ? QuantKind::kFP4 : QuantKind::kNF4,
            .double_quantization = GetParam() == "nf4-double"};
  }
};

TEST_P(QuantizedFolder, LogitsAreThoseOfTransformers) {
  SafetensorsFile reference(folder() / "golden.safetensors");
  expect_near(logits(*load(folder()), row()), reference.tensor("logits.0"), 1e-4, "stored");
  auto fresh = load(test::golden_dir() / "models" / "llama", options());
  expect_near(logits(*fresh, row()), reference.tensor("logits.0"), 1e-4, "quantised while loading");
}

TEST_P(QuantizedFolder, QuantisingWritesTheFilesOfTransformers) {
  test::TempDir dir;
  fs::path base = test::golden_dir() / "models" / "llama";
  auto model = load(base, options());
  fs::create_directories(dir / "out");
  save_quantized_model(*model, base, dir / "out", 1 << 30, {});
  SafetensorsFile got(dir / "out/model.safetensors"), want(folder() / "model.safetensors");
  std::set<std::string> got_names, want_names;
  for (const auto& [name, info] : got.tensors()) got_names.insert(name);
  for (const auto& [name, info] : want.tensors()) want_names.insert(name);
  EXPECT_EQ(got_names, want_names);
  for (const std::string& name : want_names) {
    EXPECT_EQ(got.tensor(name).shape(), want.tensor(name).shape()) << name;
    expect_bytes(got.tensor(name), want.tensor(name), name);
  }
  Json mine = read_json(dir / "out/config.json")["quantization_config"];
  Json theirs = read_json(folder() / "config.json")["quantization_config"];
  theirs["llm_int8_skip_modules"] = {"lm_head"};  // Transformers writes null and skips the head all the same
  EXPECT_EQ(mine.dump(), theirs.dump());
  expect_near(logits(*load(dir / "out"), row()), logits(*model, row()), 1e-6, "read back");
}

TEST_P(QuantizedFolder, DamageIsNamed) {
  test::TempDir dir;
  for (const auto& file : fs::directory_iterator(folder()))
    fs::copy(file, dir / file.path().filename().string());
  SafetensorsFile good(folder() / "model.safetensors");
  const std::string weight = "model.layers.0.self_attn.q_proj.weight";
  for (const std::string& part : GetParam() == "int8" ? std::vector<std::string>{"SCB", "weight"}
                                                      : std::vector<std::string>{"absmax", "quant_state"}) {
    std::map<std::string, Tensor> tensors;
    bool changed = false;
    for (const auto& [name, info] : good.tensors()) {
      Tensor value = good.tensor(name);
      bool here = name.find("layers.0.self_attn.q_proj.") != name.npos && name.find(part) != name.npos &&
                  !(part == "weight" && name != weight);
      if (here) {
        changed = true;
        value = Tensor::zeros({3}, value.dtype());
      }
      tensors[name] = value;
    }
    ASSERT_TRUE(changed) << part;
    write_safetensors(dir / "model.safetensors", tensors);
    try {
      std::vector<std::string> notes;
      load_model(dir.path(), {.compute = DType::kF32, .progress = {}}, notes);
      FAIL() << part << " of three zeros was read";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("q_proj"), std::string::npos) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, QuantizedFolder, ::testing::Values("nf4-double", "nf4", "fp4", "int8"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fettle
