#include "fettle/nn/rotary.h"

#include <cmath>
#include <numbers>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"

namespace fettle {
namespace {

// torch computes base ** (arange / dim) in f32; rounding the exact power to f32 stays within one ulp of it.
std::vector<float> plain_frequencies(double theta, int64_t dim) {
  std::vector<float> frequencies(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return frequencies;
}

double yarn_mscale(double scale, double mscale = 1.0) {
  return scale <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

void apply_llama3(const RotarySpec& spec, std::vector<float>& frequencies) {
  double original = static_cast<double>(spec.original_max_position_embeddings);
  double low_wavelength = original / spec.low_freq_factor, high_wavelength = original / spec.high_freq_factor;
  for (float& f : frequencies) {
    double wavelength = 2.0 * std::numbers::pi / f;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / spec.factor);
    } else if (wavelength >= high_wavelength) {
      double smooth =
          (original / wavelength - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
      f = static_cast<float>((1.0 - smooth) * f / spec.factor + smooth * f);
    }
  }
}

void apply_yarn(const RotarySpec& spec, double original, std::vector<float>& frequencies) {
  double dim = static_cast<double>(spec.rotary_dim);
  auto correction_dim = [&](double rotations) {
    return dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(spec.theta));
  };
  double low = correction_dim(spec.beta_fast), high = correction_dim(spec.beta_slow);
  if (spec.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double extrapolation = 1.0 - ramp;
    frequencies[i] = static_cast<float>(frequencies[i] / spec.factor * (1.0 - extrapolation) +
                                        frequencies[i] * extrapolation);
  }
}

}  // namespace

std::vector<float> rotary_inverse_frequencies(const RotarySpec& spec, int64_t sequence_length,
                                              float& attention_factor) {
  attention_factor = 1.0f;
  double theta = spec.theta;
  double dim = static_cast<double>(spec.rotary_dim);
  if (spec.type == "dynamic" && sequence_length > spec.max_position_embeddings) {
    double ratio = spec.factor * static_cast<double>(sequence_length) /
                   static_cast<double>(spec.max_position_embeddings);
    theta *= std::pow(ratio - (spec.factor - 1.0), dim / (dim - 2.0));
  }
  std::vector<float> frequencies = plain_frequencies(theta, spec.rotary_dim);
  if (spec.type == "linear") {
    for (float& f : frequencies) f = static_cast<float>(f / spec.factor);
  } else if (spec.type == "llama3") {
    apply_llama3(spec, frequencies);
  } else if (spec.type == "yarn") {
    int64_t original = spec.original_max_position_embeddings;
    double base = static_cast<double>(original > 0 ? original : spec.max_position_embeddings);
    apply_yarn(spec, base, frequencies);
    if (spec.attention_factor > 0)
      attention_factor = static_cast<float>(spec.attention_factor);
    else if (spec.mscale > 0 && spec.mscale_all_dim > 0)
      attention_factor = static_cast<float>(yarn_mscale(spec.factor, spec.mscale) /
                                            yarn_mscale(spec.factor, spec.mscale_all_dim));
    else
      attention_factor = static_cast<float>(yarn_mscale(spec.factor));
  }
  return frequencies;
}

RotaryTable RotaryEmbedding::table(int64_t positions) {
  bool length_matters =
      spec_.type == "dynamic" && std::max(positions, cached_positions_) > spec_.max_position_embeddings;
  if (cached_.cos.defined() &&
      (length_matters ? positions == cached_positions_ : positions <= cached_positions_))
    return cached_;
  // Growing in steps keeps decoding from rebuilding the table for each token.
  int64_t rows = length_matters ? positions : (positions + 511) / 512 * 512;
  if (spec_.type == "dynamic" && !length_matters) rows = std::min(rows, spec_.max_position_embeddings);
  float factor = 1.0f;
  std::vector<float> frequencies = rotary_inverse_frequencies(spec_, positions, factor);
  int64_t half = static_cast<int64_t>(frequencies.size());
  cached_.cos = Tensor::empty({rows, half}, DType::kF32, MemoryKind::kWorkspace);
  cached_.sin = Tensor::empty({rows, half}, DType::kF32, MemoryKind::kWorkspace);
  float *cos = cached_.cos.data<float>(), *sin = cached_.sin.data<float>();
  parallel_for(rows, [&](int64_t p) {
    for (int64_t i = 0; i < half; ++i) {
      double angle = static_cast<float>(p) * frequencies[static_cast<size_t>(i)];
      cos[p * half + i] = static_cast<float>(std::cos(angle)) * factor;
      sin[p * half + i] = static_cast<float>(std::sin(angle)) * factor;
    }
  });
  cached_positions_ = rows;
  return cached_;
}

}  // namespace fettle
