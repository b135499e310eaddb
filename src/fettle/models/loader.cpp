#include "fettle/models/loader.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/mapped_pages.h"
#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/formats/weight_source.h"
#include "fettle/kernels/backend.h"
#include "fettle/models/quantized_files.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

// Buffers that old releases saved beside the weights.
bool is_known_buffer(const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
         name.ends_with(".masked_bias");
}

// All complaints at once, so that a wrong folder is understood at the first try.
void check_weights(CausalLM& model, const WeightSource& source, std::vector<std::string>& notes) {
  std::vector<std::string> problems;
  size_t count = 0;
  auto complain = [&](std::string text) {
    if (count++ < 10) problems.push_back(std::move(text));
  };
  std::set<std::string> known;
  for (const Parameter* parameter : model.parameters()) {
    known.insert(parameter->name);
    if (!source.has(parameter->name)) {
      complain(fmt::format("\"{}\" {} is missing", parameter->name, shape_string(parameter->shape)));
      continue;
    }
    if (is_stored_quantized(source, parameter->name)) continue;  // checked when it is read
    WeightSource::Entry entry = source.entry(parameter->name);
    if (entry.info.shape != parameter->shape)
      complain(fmt::format("\"{}\" in {} is {}, config.json asks for {}", parameter->name,
                           entry.file.filename().string(), shape_string(entry.info.shape),
                           shape_string(parameter->shape)));
    else if (!entry.info.dtype || !is_floating(*entry.info.dtype))
      complain(fmt::format("\"{}\" in {} is {}, expected F32, F16 or BF16", parameter->name,
                           entry.file.filename().string(), entry.info.dtype_name));
  }
  if (count > 0)
    fail_input("{}: {} weight{} cannot be used: {}{}", source.folder().string(), count, count == 1 ? "" : "s",
               fmt::format("{}", fmt::join(problems, "; ")), count > problems.size() ? "; …" : "");
  std::vector<std::string> extra;
  size_t extras = 0;
  for (const std::string& name : source.names()) {
    if (known.contains(name) || is_known_buffer(name) || is_quantization_part(name)) continue;
    // A tied head that is stored all the same repeats the embedding.
    if (name == "lm_head.weight" && model.config().tie_word_embeddings) continue;
    if (extras++ < 3)
      extra.push_back(
          fmt::format("\"{}\" in {}", printable(name), source.entry(name).file.filename().string()));
  }
  if (extras > 0)
    notes.push_back(fmt::format("{}: {} tensor{} that {} does not use: {}{}", source.folder().string(),
                                extras, extras == 1 ? "" : "s", model.config().architecture,
                                fmt::format("{}", fmt::join(extra, ", ")),
                                extras > extra.size() ? ", …" : ""));
}

void fill_normal(Tensor& tensor, double deviation, uint64_t seed, uint32_t site) {
  constexpr int64_t kRun = 1 << 14;
  Tensor values = tensor.dtype() == DType::kF32
                      ? tensor
                      : Tensor::empty(tensor.shape(), DType::kF32, MemoryKind::kWorkspace);
  float* out = values.data<float>();
  int64_t n = values.numel();
  parallel_for((n + kRun - 1) / kRun, [&](int64_t chunk) {
    RandomStream stream({seed, RandomUse::kInit, site, static_cast<uint64_t>(chunk) + 1});
    for (int64_t i = chunk * kRun, end = std::min(n, i + kRun); i < end; ++i)
      out[i] = static_cast<float>(deviation * stream.normal());
  });
  if (tensor.dtype() != DType::kF32) {
    Tensor narrow = values.to(tensor.dtype(), MemoryKind::kWorkspace);
    tensor.assign(narrow.raw(), narrow.nbytes());
  }
}

Tensor initial_value(const CausalLM& model, const Parameter& parameter, uint32_t index, uint64_t seed,
                     DType dtype) {
  Tensor value = Tensor::zeros(parameter.shape, dtype, MemoryKind::kWeights);
  if (parameter.shape.size() >= 2) {
    fill_normal(value, model.config().initializer_range, seed, index);
  } else if (!parameter.name.ends_with(".bias")) {
    Tensor ones = Tensor::empty(parameter.shape, DType::kF32, MemoryKind::kWorkspace);
    for (float& v : ones.span<float>()) v = 1.0f;
    value = ones.to(dtype, MemoryKind::kWeights);
  }
  return value;
}

// NaN and infinity in what the file holds; a run on them would only diverge later.
class FiniteCheck {
 public:
  void look_at(const std::string& name, const Tensor& value) {
    if (cpu_backend().all_finite(value)) return;
    ++tensors_;
    if (shown_.size() >= 5) return;
    const Tensor wide = value.to(DType::kF32, MemoryKind::kWorkspace);
    const std::span<const float> values = wide.span<float>();
    const auto count = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    shown_.push_back(fmt::format("\"{}\" has {} of {}", printable(name), count, values.size()));
  }
  void report(const fs::path& folder, bool strict, std::vector<std::string>& notes) const {
    if (tensors_ == 0) return;
    std::string text =
        fmt::format("{}: {} tensor{} with values that are NaN or infinite: {}{}", folder.string(), tensors_,
                    tensors_ == 1 ? "" : "s", fmt::join(shown_, ", "), tensors_ > shown_.size() ? ", …" : "");
    if (strict) fail_input("{}; the file is damaged (strict_finite refuses it)", text);
    notes.push_back(std::move(text));
  }

 private:
  size_t tensors_ = 0;
  std::vector<std::string> shown_;
};

void load_value(const WeightSource& source, const LoadOptions& options, Parameter& parameter) {
  Tensor stored = source.tensor(parameter.name);
  DType wanted = options.trainable_base             ? options.trainable_dtype
                 : dtype_size(options.compute) == 2 ? options.compute
                                                    : stored.dtype();
  if (stored.dtype() == DType::kF64) wanted = DType::kF32;
  // A trainable weight is written to, so it must not be the mapping itself.
  if (stored.dtype() == wanted && !options.trainable_base)
    parameter.value = stored;
  else if (stored.dtype() == wanted)
    parameter.value = stored.clone(MemoryKind::kWeights);
  else
    parameter.value = stored.to(wanted, MemoryKind::kWeights);
  if (wanted == DType::kF16 && stored.dtype() != DType::kF16 && !cpu_backend().all_finite(parameter.value))
    fail_input("{}: \"{}\" has values that float16 cannot hold (beyond 65504, or not finite); use bf16: true",
               source.folder().string(), parameter.name);
}

// The weight as it would be computed with, in 4 or 8 bits.
void quantize_value(const QuantizeOptions& options, Parameter& parameter) {
  parameter.quantized = options.bits == 8 ? quantize_8bit(parameter.value)
                                          : quantize_4bit(parameter.value, options.kind, options.blocksize,
                                                          options.double_quantization);
  forget_mapped_pages(parameter.value.raw(), parameter.value.nbytes());
  parameter.value = Tensor();
}

// Weights of the linears but the head.
std::set<const Parameter*> quantizable(CausalLM& model) {
  std::set<const Parameter*> weights;
  for (const Linear* linear : model.linears())
    if (linear != &model.head() && !linear->conv1d) weights.insert(linear->weight.get());
  return weights;
}

}  // namespace

QuantizeOptions quantize_options(const Config& config, int fallback_bits) {
  std::optional<std::string> bits = config.get<std::optional<std::string>>("quantization_bit");
  return {.bits = bits ? std::stoi(*bits) : fallback_bits,
          .kind = config.get<std::string>("quantization_type") == "fp4" ? QuantKind::kFP4 : QuantKind::kNF4,
          .blocksize = std::stoll(config.get<std::string>("quantization_blocksize")),
          .double_quantization = config.get<bool>("double_quantization")};
}

std::optional<QuantizeOptions> quantize_options(const Config& config) {
  if (!config.get<std::optional<std::string>>("quantization_bit")) return std::nullopt;
  return quantize_options(config, 4);
}

void quantize_linears(CausalLM& model, const QuantizeOptions& options) {
  std::set<const Parameter*> linears = quantizable(model);
  for (Parameter* parameter : model.parameters())
    if (linears.contains(parameter) && !parameter->quantized) quantize_value(options, *parameter);
}

std::unique_ptr<CausalLM> load_model(const fs::path& folder, const LoadOptions& options,
                                     std::vector<std::string>& notes) {
  ModelConfig config = read_model_config(folder);
  std::unique_ptr<CausalLM> model = build_model(config);
  WeightSource source = WeightSource::open_model(folder);
  notes.insert(notes.end(), source.notes().begin(), source.notes().end());
  check_weights(*model, source, notes);
  uint64_t done = 0, total = source.total_bytes();
  FiniteCheck finite;
  std::set<const Parameter*> linears = quantizable(*model);
  if (options.quantize && linears.empty())
    fail_usage("quantization_bit: {} stores its weights transposed, which has no quantised form here",
               config.architecture);
  for (Parameter* parameter : model->parameters()) {
    const std::string& name = parameter->name;
    const uint64_t bytes = source.tensor(name).nbytes();
    if (is_stored_quantized(source, name)) {
      if (!linears.contains(parameter) || options.trainable_base)
        fail_input(
            "{}: \"{}\" is quantised, {}", folder.string(), name,
            options.trainable_base ? "and full fine-tuning needs a base that is not" : "and is no linear");
      parameter->quantized = read_quantized(source, name, parameter->shape[0], parameter->shape[1]);
      source.forget(name);
    } else {
      load_value(source, options, *parameter);
      finite.look_at(name, parameter->value);
      if (options.quantize && linears.contains(parameter)) quantize_value(*options.quantize, *parameter);
      if (!parameter->value.shares_storage_with(source.tensor(name))) source.forget(name);
    }
    done += bytes;
    if (options.progress) options.progress(done, total);
  }
  finite.report(folder, options.strict_finite, notes);
  return model;
}

void initialise_weights(CausalLM& model, uint64_t seed, DType dtype) {
  uint32_t index = 0;
  for (Parameter* parameter : model.parameters())
    parameter->value = initial_value(model, *parameter, index++, seed, dtype);
}

void write_random_model(const fs::path& config_path, const fs::path& output, uint64_t seed, DType dtype,
                        const std::function<void(uint64_t, uint64_t)>& progress) {
  fs::path folder = fs::is_directory(config_path) ? config_path : config_path.parent_path();
  if (!fs::is_directory(config_path) && config_path.filename() != "config.json")
    fail_usage("{}: expected a file named config.json or its folder", config_path.string());
  ModelConfig config = read_model_config(folder.empty() ? "." : folder);
  std::unique_ptr<CausalLM> model = build_model(config);
  if (fs::exists(output / "model.safetensors"))
    fail_usage("{}: already holds a model; name another folder", output.string());
  fs::create_directories(output);
  std::vector<SafetensorsWriter::Declaration> declarations;
  uint64_t total = 0, done = 0;
  for (const Parameter* parameter : model->parameters()) {
    declarations.push_back({parameter->name, dtype, parameter->shape});
    total += static_cast<uint64_t>(parameter->numel()) * dtype_size(dtype);
  }
  SafetensorsWriter writer(output / "model.safetensors", declarations);
  uint32_t index = 0;
  for (const Parameter* parameter : model->parameters()) {
    Tensor value = initial_value(*model, *parameter, index++, seed, dtype);
    writer.write(value);
    done += value.nbytes();
    if (progress) progress(done, total);
  }
  writer.commit();
  Json json = *config.raw;
  json["torch_dtype"] = dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
  json.erase("dtype");
  if (!fs::equivalent(folder.empty() ? "." : folder, output))
    write_file_atomically(output / "config.json", json.dump(2) + "\n");
}

}  // namespace fettle
