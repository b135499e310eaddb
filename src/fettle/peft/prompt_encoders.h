// What turns learned parameters into the vectors of a prompt. Names and shapes are those of PEFT's modules
// below "prompt_encoder".
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

class PromptEncoder {
 public:
  virtual ~PromptEncoder() = default;
  /// [virtual tokens, width], f32.
  virtual Var output(Context& context) = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  /// torch's initial values of the modules.
  virtual void initialise(uint64_t seed) = 0;
};

/// A table of the vectors themselves.
std::unique_ptr<PromptEncoder> make_table_encoder(const std::string& name, int64_t tokens, int64_t width);
/// P-tuning (Liu et al., arXiv 2103.10385) by an MLP: embedding, Linear, ReLU, Linear, ReLU, Linear.
std::unique_ptr<PromptEncoder> make_mlp_encoder(int64_t tokens, int64_t width, int64_t hidden);
/// P-tuning by a bidirectional LSTM of `layers` layers and Linear, ReLU, Linear.
std::unique_ptr<PromptEncoder> make_lstm_encoder(int64_t tokens, int64_t width, int64_t hidden,
                                                 int64_t layers, double dropout);
/// Prefix tuning's projection (Li & Liang, arXiv 2101.00190): embedding, Linear, Tanh, Linear.
std::unique_ptr<PromptEncoder> make_projection_encoder(int64_t tokens, int64_t width, int64_t hidden,
                                                       int64_t output_width, bool zero);

}  // namespace fettle
