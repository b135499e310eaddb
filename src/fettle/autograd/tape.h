// The tape: what forward ops leave behind for backward.
//
// An op is a function of a Context and tensors. With a tape in the context it records one node; without, it
// is plain inference. Nodes are coarse (a linear with its adapter, a norm, attention), about ten for a
// decoder layer.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fettle/kernels/backend.h"
#include "fettle/tensor/tensor.h"

namespace fettle {

/// Where the gradient of a value gathers during backward.
class GradSlot {
 public:
  /// Adds `gradient`. `shared` says that the tensor is also used elsewhere and must not be written to.
  void accumulate(Backend& backend, const Tensor& gradient, bool shared = false);
  bool defined() const { return gradient_.defined(); }
  const Tensor& gradient() const { return gradient_; }
  /// A gradient that this slot owns and that an op may add to in place (beta = 1); undefined when there is
  /// none.
  Tensor owned() const { return owned_ ? gradient_ : Tensor(); }
  /// Hands the gradient over in the shape of the op's own output (consumers may have seen another shape).
  Tensor take(const Shape& shape) { return std::exchange(gradient_, Tensor()).reshape(shape); }

 private:
  Tensor gradient_;
  bool owned_ = false;
};

/// How to make a value again that follows cheaply from what its node keeps anyway.
class Remake {
 public:
  explicit Remake(std::function<Tensor()> make) : make_(std::move(make)) {}
  /// Another node that will take it.
  void expect() { ++expected_; }
  /// The value; it is made once, and let go of when the last node that wanted it has taken it.
  Tensor take();

 private:
  std::function<Tensor()> make_;
  Tensor made_;
  int expected_ = 0;
};

/// A value in the graph: a tensor, and a slot when a gradient will flow into it.
struct Var {
  Tensor value;
  std::shared_ptr<GradSlot> slot;
  std::shared_ptr<Remake> remake;  ///< of some values, where the context remakes
  Var() = default;
  explicit Var(Tensor v, bool requires_grad = false)
      : value(std::move(v)), slot(requires_grad ? std::make_shared<GradSlot>() : nullptr) {}
  bool requires_grad() const { return slot != nullptr; }
};

/// A named weight. Its gradient is f32 (f64 for an f64 value), is added to by backward and survives until
/// zero_grad().
struct Parameter {
  std::string name;  ///< Hugging Face path, for example model.layers.0.self_attn.q_proj.weight
  Shape shape;
  Tensor value;                                      ///< undefined until loaded or initialised
  std::shared_ptr<const QuantizedMatrix> quantized;  ///< of a frozen weight, in the place of value
  bool trainable = false;
  Tensor gradient;  ///< allocated at first use
  MemoryKind kind = MemoryKind::kWeights;

  Parameter(std::string n, Shape s) : name(std::move(n)), shape(std::move(s)) {}
  int64_t numel() const;
  /// Bytes of the value as it is held.
  uint64_t nbytes() const { return quantized ? quantized->nbytes() : value.defined() ? value.nbytes() : 0; }
  /// The gradient tensor, zeroed when it is new.
  Tensor& gradient_buffer();
  void zero_grad(Backend& backend);
};

class Tape {
 public:
  /// `backward` runs once, after every later node.
  void record(std::function<void()> backward) { nodes_.push_back(std::move(backward)); }
  /// Runs the nodes from last to first and frees each, with the tensors it saved, as soon as it has run.
  void backward();
  size_t size() const { return nodes_.size(); }

 private:
  std::vector<std::function<void()>> nodes_;
};

/// Rows of a packed batch that use adapters of their own (inference only): rows [previous end, end) use the
/// methods of `owners` and no others.
struct AdapterRoute {
  int64_t end = 0;
  std::vector<const void*> owners;
};

/// What an op needs to know beside its tensors.
struct Context {
  Backend* backend = nullptr;
  Tape* tape = nullptr;         ///< null: inference
  DType compute = DType::kF32;  ///< dtype of activations and of the operands of products
  bool training = false;        ///< dropout is active
  bool remakes = false;  ///< nodes keep cheap values (norms, functions of the MLP) as Remake, not as tensors
  uint64_t seed = 0;     ///< of dropout
  uint64_t step = 0;     ///< micro-batch number since the start of the run: part of the dropout key
  float neftune_alpha = 0;  ///< noise on the embeddings while training (Jain et al., arXiv 2310.05914)
  std::span<const AdapterRoute>
      routes;  ///< rows of this batch that use adapters of their own; empty: all alike

  Tensor activation(Shape shape) const { return Tensor::empty(std::move(shape), compute); }
  bool records(bool any_gradient) const { return tape != nullptr && any_gradient; }
};

/// A value that a node keeps for its backward, which takes it once.
class Kept {
 public:
  Kept() = default;
  explicit Kept(const Var& x)
      : value_(x.remake ? Tensor() : x.value), remake_(x.remake), shape_(x.value.shape()) {
    if (remake_) remake_->expect();
  }
  /// In the shape that the value had.
  Tensor take() const { return remake_ ? remake_->take().reshape(shape_) : value_; }

 private:
  Tensor value_;
  std::shared_ptr<Remake> remake_;
  Shape shape_;
};

/// Runs `body` without a tape and records one node that runs it again, with a tape, when backward comes:
/// activations inside live only then (Chen et al., arXiv 1604.06174). `has_trainable`: whether a parameter
/// used inside is trainable. Recomputation gives the same bits, so gradients equal those of the plain
/// forward.
using Block = std::function<std::vector<Var>(Context&, const std::vector<Var>&)>;
std::vector<Var> checkpoint(Context& context, const std::vector<Var>& inputs, bool has_trainable,
                            const Block& body);

}  // namespace fettle
