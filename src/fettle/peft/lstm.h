// A layer of torch.nn.LSTM (Hochreiter & Schmidhuber 1997; gates i, f, g, o), both directions side by side.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

/// Parameters as torch names them: weight_ih_l0 [4h, in], weight_hh_l0 [4h, h], bias_ih_l0, bias_hh_l0 [4h],
/// and the same with _reverse.
struct LstmDirection {
  std::shared_ptr<Parameter> weight_ih, weight_hh, bias_ih, bias_hh;
};

/// x [T, in], one sequence, f32, from zero states; result [T, h]. `backwards` reads from the last row to the
/// first and gives its outputs in the order of the rows.
Var lstm(Context& context, const Var& x, const LstmDirection& direction, bool backwards);

}  // namespace fettle
