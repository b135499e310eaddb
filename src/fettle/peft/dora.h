// DoRA (Liu et al., arXiv 2402.09353), PEFT's form: y = g ⊙ (W + s B A) x + bias with g = m / ‖W + s B A‖ by
// rows of the weight, the norm being a constant of the backward pass.
#pragma once
#include "fettle/peft/lora.h"

namespace fettle {

class DoraMethod final : public LoraMethod {
 public:
  DoraMethod(Linear& linear, int64_t rank, double scale, double dropout);
  /// m = ‖W + s B A‖ for the weights as they are.
  void initialise_magnitude(const Linear& linear);
  Var forward(Context& context, const LinearBelow& below, const Var& x) override;
  std::vector<Parameter*> parameters() override;
  void merge(Tensor& weight, Tensor& bias) const override;

  std::shared_ptr<Parameter> magnitude;  ///< [out]

 private:
  Tensor inverse_norms(const Linear& linear) const;
};

}  // namespace fettle
