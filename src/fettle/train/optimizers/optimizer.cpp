#include "fettle/train/optimizers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/safetensors.h"
#include "fettle/train/optimizers/elementwise.h"

namespace fettle {
bool decays(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.find("bias") != lower.npos || lower.find("layernorm") != lower.npos ||
      lower.find("rmsnorm") != lower.npos)
    return false;
  // LayerNorm modules that are not called so: GPT-2's.
  if (lower.find(".ln_1.") != lower.npos || lower.find(".ln_2.") != lower.npos ||
      lower.find(".ln_f.") != lower.npos)
    return false;
  // (?:^|\.)norm(?:$|\.) and _norm(?:$|\.)
  for (size_t at = lower.find("norm"); at != lower.npos; at = lower.find("norm", at + 1)) {
    bool starts = at == 0 || lower[at - 1] == '.' || lower[at - 1] == '_';
    bool ends = at + 4 == lower.size() || lower[at + 4] == '.';
    if (starts && ends) return false;
  }
  return true;
}

Optimizer::Optimizer(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options)
    : backend_(backend),
      parameters_(std::move(parameters)),
      options_(std::move(options)),
      states_(parameters_.size()) {
  for (Parameter* parameter : parameters_) {
    FETTLE_CHECK(parameter->value.dtype() == DType::kF32 || parameter->value.dtype() == DType::kBF16,
                 "{} is {}, trainable weights are f32 or bf16", parameter->name,
                 dtype_name(parameter->value.dtype()));
    parameter->gradient_buffer();
  }
}

Tensor Optimizer::new_state(const Shape& shape, DType dtype) const {
  if (options_.paged_in.empty()) return Tensor::zeros(shape, dtype, MemoryKind::kOptimizer);
  uint64_t bytes = dtype_size(dtype);
  for (int64_t size : shape) bytes *= static_cast<uint64_t>(size);
  std::shared_ptr<void> memory = map_scratch_file(options_.paged_in, bytes);
  return Tensor::external(memory.get(), shape, dtype, memory);
}

double Optimizer::decay_of(size_t index) const {
  return decays(parameters_[index]->name) ? options_.weight_decay : 0.0;
}

void Optimizer::adamw_step(size_t index, double learning_rate, float grad_scale) {
  AdamWArgs args{.learning_rate = static_cast<float>(learning_rate),
                 .beta1 = static_cast<float>(options_.beta1),
                 .beta2 = static_cast<float>(options_.beta2),
                 .epsilon = static_cast<float>(options_.epsilon),
                 .weight_decay = static_cast<float>(decay_of(index)),
                 .step = steps_,
                 .grad_scale = grad_scale};
  Parameter& parameter = *parameters_[index];
  backend_.adamw(parameter.value, parameter.gradient, states_[index][0].value, states_[index][1].value, args);
}

void Optimizer::step(double learning_rate, double grad_scale) {
  ++steps_;
  begin_step(learning_rate);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    double factor = options_.learning_rate_factor ? options_.learning_rate_factor(*parameters_[i]) : 1.0;
    Parameter& parameter = *parameters_[i];
    if (parameter.value.dtype() != DType::kBF16) {
      update(i, learning_rate * factor, static_cast<float>(grad_scale));
      continue;
    }
    // One parameter at a time is f32.
    Tensor stored = parameter.value;
    parameter.value = stored.to(DType::kF32, MemoryKind::kWorkspace);
    update(i, learning_rate * factor, static_cast<float>(grad_scale));
    round_at_random(
        parameter.value,
        {options_.seed, RandomUse::kRounding, static_cast<uint32_t>(i), static_cast<uint64_t>(steps_)},
        stored);
    parameter.value = stored;
  }
}

void round_at_random(const Tensor& values, const RandomKey& key, Tensor& out) {
  const uint32_t* bits = static_cast<const uint32_t*>(static_cast<const void*>(values.data<float>()));
  uint16_t* rounded = static_cast<uint16_t*>(out.raw());
  // Eight values share a block of random words; runs begin at one.
  for_element_runs(values.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += 8) {
      const std::array<uint32_t, 4> words = key.block(static_cast<uint64_t>(at) / 8);
      for (int64_t k = 0; k < std::min<int64_t>(8, end - at); ++k) {
        const uint32_t value = bits[at + k];
        const uint32_t chance = words[static_cast<size_t>(k / 2)] >> (k % 2 ? 16 : 0) & 0xFFFF;
        const bool finite = (value & 0x7F800000u) != 0x7F800000u;
        rounded[at + k] = static_cast<uint16_t>((finite ? value + chance : value) >> 16);
      }
    }
  });
}

void Optimizer::rehearse_step() const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    std::vector<int64_t> sizes = update_workspace(i);
    if (parameters_[i]->value.dtype() != DType::kF32) sizes.push_back(parameters_[i]->numel());
    std::vector<Tensor> held;
    for (int64_t size : sizes) held.push_back(Tensor::empty({size}, DType::kF32, MemoryKind::kWorkspace));
  }
}

void Optimizer::zero_grad() {
  for (Parameter* parameter : parameters_) parameter->zero_grad(backend_);
}

template <typename Visit>
void Optimizer::visit_tensors(Visit&& visit) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    visit(parameters_[i]->name, parameters_[i]->value);
    for (const State& state : states_[i])
      visit(fmt::format("{}.{}", parameters_[i]->name, state.name), state.value);
  }
  for (const State& state : shared_states_) visit(fmt::format("optimizer.{}", state.name), state.value);
}

uint64_t Optimizer::state_bytes() const {
  uint64_t bytes = 0;
  for (const std::vector<State>& states : states_)
    for (const State& state : states) bytes += state.value.nbytes();
  return bytes;
}

void Optimizer::write(const std::filesystem::path& path) const {
  std::vector<SafetensorsWriter::Declaration> tensors;
  visit_tensors([&](const std::string& name, const Tensor& value) {
    tensors.push_back({name, value.dtype(), value.shape()});
  });
  SafetensorsWriter writer(path, tensors);
  visit_tensors([&](const std::string&, const Tensor& value) { writer.write(value); });
  writer.commit();
}

void Optimizer::read(const std::filesystem::path& path, int64_t steps) {
  SafetensorsFile file(path);
  visit_tensors([&](const std::string& name, const Tensor& place) {
    auto found = file.tensors().find(name);
    if (found == file.tensors().end() || found->second.dtype != place.dtype() ||
        found->second.shape != place.shape())
      fail_input("{}: tensor {} is missing or has another shape", path.string(), name);
    Tensor tensor = file.tensor(name), target = place;
    std::memcpy(target.raw(), tensor.raw(), tensor.nbytes());
  });
  steps_ = steps;
}

double Optimizer::gradient_norm() const {
  double sum = 0;
  for (const Parameter* parameter : parameters_) sum += backend_.sum_squares(parameter->gradient);
  return std::sqrt(sum);
}

bool Optimizer::gradients_finite(std::string* first) const {
  for (const Parameter* parameter : parameters_)
    if (!backend_.all_finite(parameter->gradient)) {
      if (first) *first = parameter->name;
      return false;
    }
  return true;
}

}  // namespace fettle
