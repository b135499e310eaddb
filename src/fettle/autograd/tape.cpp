#include "fettle/autograd/tape.h"

#include "fettle/base/error.h"

namespace fettle {

void GradSlot::accumulate(Backend& backend, const Tensor& gradient, bool shared) {
  if (!gradient_.defined()) {
    gradient_ = gradient;
    owned_ = !shared;
  } else if (owned_) {
    if (!gradient.shares_storage_with(gradient_))
      backend.add(gradient_, gradient.reshape(gradient_.shape()), gradient_);
  } else {
    Tensor sum = Tensor::empty(gradient_.shape(), gradient_.dtype());
    backend.add(gradient_, gradient.reshape(gradient_.shape()), sum);
    gradient_ = sum;
    owned_ = true;
  }
}

int64_t Parameter::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}
Tensor& Parameter::gradient_buffer() {
  if (!gradient.defined())
    gradient = Tensor::zeros(shape, value.dtype() == DType::kF64 ? DType::kF64 : DType::kF32,
                             MemoryKind::kGradients);
  return gradient;
}
void Parameter::zero_grad(Backend& backend) {
  if (gradient.defined()) backend.fill(gradient, 0.0);
}

Tensor Remake::take() {
  if (!made_.defined()) made_ = make_();
  Tensor value = made_;
  if (--expected_ <= 0) made_ = Tensor();
  return value;
}

void Tape::backward() {
  while (!nodes_.empty()) {
    std::function<void()> node = std::move(nodes_.back());
    nodes_.pop_back();
    node();
  }
}

std::vector<Var> checkpoint(Context& context, const std::vector<Var>& inputs, bool has_trainable,
                            const Block& body) {
  bool any = has_trainable;
  for (const Var& input : inputs) any = any || input.requires_grad();
  Context plain = context;
  plain.tape = nullptr;
  std::vector<Var> detached;
  for (const Var& input : inputs) detached.emplace_back(input.value);
  std::vector<Var> outputs = body(plain, detached);
  if (!context.records(any)) return outputs;
  std::vector<std::shared_ptr<GradSlot>> slots;
  for (Var& output : outputs) {
    output.slot = std::make_shared<GradSlot>();
    slots.push_back(output.slot);
  }
  context.tape->record([context, inputs, slots, body] {
    Tape inner;
    Context again = context;
    again.tape = &inner;
    std::vector<Var> leaves;
    for (const Var& input : inputs) leaves.emplace_back(input.value, input.requires_grad());
    std::vector<Var> outputs = body(again, leaves);
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].slot && slots[i]->defined())
        // Two values may have been given one tensor (inputs of a sum), so it is nobody's own.
        outputs[i].slot->accumulate(*again.backend, slots[i]->take(outputs[i].value.shape()), true);
    outputs.clear();
    inner.backward();
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].slot && leaves[i].slot->defined())
        inputs[i].slot->accumulate(*again.backend, leaves[i].slot->take(inputs[i].value.shape()), true);
  });
  return outputs;
}

}  // namespace fettle
