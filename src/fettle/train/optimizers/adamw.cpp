// AdamW (Loshchilov & Hutter, arXiv 1711.05101) as torch.optim.AdamW, with f32 moments or, as bitsandbytes'
// AdamW8bit (Dettmers et al., arXiv 2110.02861), with moments of 8 bits in blocks of 256. Lion in 8 bits
// rides along.
#include <cmath>

#include "fettle/kernels/quantized.h"
#include "fettle/train/optimizers/elementwise.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

constexpr int64_t kBlock = 256;
// bitsandbytes keeps f32 moments of parameters with fewer elements, and Trainer asks for them for embeddings.
constexpr int64_t kMinEightBit = 4096;

class AdamW : public Optimizer {
 public:
  AdamW(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options)
      : Optimizer(backend, std::move(parameters), std::move(options)) {
    for (size_t i = 0; i < parameters_.size(); ++i)
      states_[i] = {{"exp_avg", new_state(parameters_[i]->shape)},
                    {"exp_avg_sq", new_state(parameters_[i]->shape)}};
  }

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    adamw_step(i, learning_rate, grad_scale);
  }
};

bool in_eight_bits(const Parameter& parameter) {
  return parameter.numel() >= kMinEightBit && parameter.name.find("embed") == std::string::npos;
}

class EightBit : public Optimizer {
 public:
  EightBit(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options, bool lion)
      : Optimizer(backend, std::move(parameters), std::move(options)), lion_(lion) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const int64_t n = parameters_[i]->numel(), blocks = (n + kBlock - 1) / kBlock;
      const bool eight = in_eight_bits(*parameters_[i]);
      for (const char* name : {"state1", "state2"}) {
        const bool second = name[5] == '2';
        if (second && lion_) break;
        states_[i].push_back({name, new_state({n}, eight ? DType::kU8 : DType::kF32)});
        if (eight) states_[i].push_back({second ? "absmax2" : "absmax1", new_state({blocks})});
      }
    }
  }

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    std::vector<State>& s = states_[i];
    const bool eight = in_eight_bits(p);
    const double correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(steps_));
    const float correction2 =
        static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, static_cast<double>(steps_))));
    const float beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
    const float epsilon = static_cast<float>(options_.epsilon),
                step_size = static_cast<float>(learning_rate / correction1);
    const float rate = static_cast<float>(learning_rate);
    const float decay = static_cast<float>(1.0 - learning_rate * decay_of(i));
    float* values = p.value.data<float>();
    const float* gradient = p.gradient.data<float>();
    // Runs are whole blocks.
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      float first[kBlock], second[kBlock];
      for (int64_t at = begin; at < end; at += kBlock) {
        const int64_t n = std::min(kBlock, end - at), block = at / kBlock;
        float* m = eight ? first : s[0].value.data<float>() + at;
        float* v = eight ? second : lion_ ? nullptr : s[1].value.data<float>() + at;
        if (eight) {
          dequantize_block(s[0].value.data<uint8_t>() + at, n, s[1].value.data<float>()[block], true, m);
          if (!lion_)
            dequantize_block(s[2].value.data<uint8_t>() + at, n, s[3].value.data<float>()[block], false, v);
        }
        for (int64_t k = 0; k < n; ++k) {
          const float g = gradient[at + k] * grad_scale;
          if (lion_) {
            const float direction = m[k] * beta1 + g * (1.0f - beta1);
            values[at + k] =
                values[at + k] * decay - rate * static_cast<float>((direction > 0) - (direction < 0));
            m[k] = m[k] * beta2 + g * (1.0f - beta2);
          } else {
            m[k] = m[k] * beta1 + g * (1.0f - beta1);
            v[k] = v[k] * beta2 + g * g * (1.0f - beta2);
            values[at + k] =
                values[at + k] * decay - step_size * m[k] / (std::sqrt(v[k]) / correction2 + epsilon);
          }
        }
        if (eight) {
          s[1].value.data<float>()[block] = quantize_block(m, n, true, s[0].value.data<uint8_t>() + at);
          if (!lion_)
            s[3].value.data<float>()[block] = quantize_block(v, n, false, s[2].value.data<uint8_t>() + at);
        }
      }
    });
  }

 private:
  bool lion_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<AdamW>(b, std::move(p), std::move(o));
}
std::unique_ptr<Optimizer> make_adamw_8bit(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<EightBit>(b, std::move(p), std::move(o), false);
}
std::unique_ptr<Optimizer> make_lion_8bit(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<EightBit>(b, std::move(p), std::move(o), true);
}

}  // namespace fettle
