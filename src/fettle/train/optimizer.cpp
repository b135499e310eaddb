#include "fettle/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"

namespace fettle {
namespace {

constexpr std::array<const char*, 3> kSavedSuffixes = {"", ".exp_avg", ".exp_avg_sq"};

}  // namespace

bool decays(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.find("bias") != lower.npos || lower.find("layernorm") != lower.npos ||
      lower.find("rmsnorm") != lower.npos)
    return false;
  // (?:^|\.)norm(?:$|\.) and _norm(?:$|\.)
  for (size_t at = lower.find("norm"); at != lower.npos; at = lower.find("norm", at + 1)) {
    bool starts = at == 0 || lower[at - 1] == '.' || lower[at - 1] == '_';
    bool ends = at + 4 == lower.size() || lower[at + 4] == '.';
    if (starts && ends) return false;
  }
  return true;
}

AdamW::AdamW(Backend& backend, std::vector<Parameter*> parameters, AdamWOptions options)
    : backend_(backend), parameters_(std::move(parameters)), states_(parameters_.size()), options_(options) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    FETTLE_CHECK(parameters_[i]->value.dtype() == DType::kF32, "{} is {}, trainable weights are f32",
                 parameters_[i]->name, dtype_name(parameters_[i]->value.dtype()));
    states_[i].m = Tensor::zeros(parameters_[i]->shape, DType::kF32, MemoryKind::kOptimizer);
    states_[i].v = Tensor::zeros(parameters_[i]->shape, DType::kF32, MemoryKind::kOptimizer);
    parameters_[i]->gradient_buffer();
  }
}

void AdamW::step(double learning_rate, double grad_scale) {
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = *parameters_[i];
    State& state = states_[i];
    double factor = options_.learning_rate_factor ? options_.learning_rate_factor(parameter) : 1.0;
    AdamWArgs args{.learning_rate = static_cast<float>(learning_rate * factor),
                   .beta1 = static_cast<float>(options_.beta1),
                   .beta2 = static_cast<float>(options_.beta2),
                   .epsilon = static_cast<float>(options_.epsilon),
                   .weight_decay = static_cast<float>(decays(parameter.name) ? options_.weight_decay : 0.0),
                   .step = steps_,
                   .grad_scale = static_cast<float>(grad_scale)};
    backend_.adamw(parameter.value, parameter.gradient, state.m, state.v, args);
  }
}

void AdamW::zero_grad() {
  for (Parameter* parameter : parameters_) parameter->zero_grad(backend_);
}

void AdamW::write(const std::filesystem::path& path) const {
  std::vector<SafetensorsWriter::Declaration> tensors;
  for (const Parameter* parameter : parameters_)
    for (const char* suffix : kSavedSuffixes)
      tensors.push_back({parameter->name + suffix, DType::kF32, parameter->shape});
  SafetensorsWriter writer(path, tensors);
  for (size_t i = 0; i < parameters_.size(); ++i)
    for (const Tensor& tensor : {parameters_[i]->value, states_[i].m, states_[i].v}) writer.write(tensor);
  writer.commit();
}

void AdamW::read(const std::filesystem::path& path, int64_t steps) {
  SafetensorsFile file(path);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor* places[] = {&parameters_[i]->value, &states_[i].m, &states_[i].v};
    for (size_t k = 0; k < 3; ++k) {
      std::string name = parameters_[i]->name + kSavedSuffixes[k];
      auto found = file.tensors().find(name);
      if (found == file.tensors().end() || found->second.dtype != DType::kF32 ||
          found->second.shape != parameters_[i]->shape)
        fail_input("{}: tensor {} is missing or has another shape", path.string(), name);
      Tensor tensor = file.tensor(name);
      std::memcpy(places[k]->data<float>(), tensor.data<float>(), tensor.nbytes());
    }
  }
  steps_ = steps;
}

double AdamW::gradient_norm() const {
  double sum = 0;
  for (const Parameter* parameter : parameters_) sum += backend_.sum_squares(parameter->gradient);
  return std::sqrt(sum);
}

bool AdamW::gradients_finite(std::string* first) const {
  for (const Parameter* parameter : parameters_)
    if (!backend_.all_finite(parameter->gradient)) {
      if (first) *first = parameter->name;
      return false;
    }
  return true;
}

}  // namespace fettle
