// Modules: named weights and the ops that use them. A module's path is its Hugging Face path.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

class Linear;
class LinearMethod;

/// What lies under a method of a linear: the linear itself with the methods that were mounted before.
class LinearBelow {
 public:
  LinearBelow(Linear& linear, size_t depth) : linear_(&linear), depth_(depth) {}
  Var operator()(Context& context, const Var& x) const;
  Linear& linear() const { return *linear_; }
  /// The active method directly below and what lies under it; nullptr when there is only the linear.
  LinearMethod* top() const;
  LinearBelow next() const;

 private:
  Linear* linear_;
  size_t depth_;
};

/// What a parameter-efficient method does to one linear. Methods of several adapters lie on top of each
/// other. Implementations live in peft/, one file a method.
class LinearMethod {
 public:
  virtual ~LinearMethod() = default;
  /// The output with the method in place.
  virtual Var forward(Context& context, const LinearBelow& below, const Var& x) = 0;
  /// The method's own weights, in the order in which they are saved.
  virtual std::vector<Parameter*> parameters() = 0;
  /// Turns weight [out, in] and bias [out] (undefined when there is none), both f32, into those of a plain
  /// linear that computes the same.
  virtual void merge(Tensor& weight, Tensor& bias) const = 0;
  /// On a head that shares the embedding's weight: the method only repeats what was done to the embedding.
  virtual bool follows_embedding() const { return false; }
  /// Whether forward() and merge() heed `weight` themselves; else the linear mixes both outputs.
  virtual bool weighs_itself() const { return false; }
  /// An inactive method is passed over.
  bool active = true;
  /// How much of the method's change is applied: output below + weight * (output with - output below).
  float weight = 1.0f;
  /// The adapter that it belongs to: what a row of a batch asks for.
  const void* owner = nullptr;
};

/// y = x Wᵀ + b. weight [out, in]; [in, out] for GPT-2's Conv1D.
class Linear {
 public:
  Linear(std::string path, int64_t in_features, int64_t out_features, bool with_bias, bool conv1d = false);
  Var forward(Context& context, const Var& x);
  /// Whether anything here, the methods included, is trainable.
  bool trainable() const;

  std::string path;
  int64_t in_features, out_features;
  bool conv1d;
  std::shared_ptr<Parameter> weight;
  std::shared_ptr<Parameter> bias;                     ///< may be null
  std::vector<std::shared_ptr<LinearMethod>> methods;  ///< the last is outermost

 private:
  Var routed(Context& context, const Var& x);
};

/// What a parameter-efficient method does to the rows that an embedding gave.
class EmbeddingMethod {
 public:
  virtual ~EmbeddingMethod() = default;
  virtual Var forward(Context& context, const Var& rows, const std::vector<int32_t>& ids) = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  /// Turns the table [rows, width], f32, into that of a plain embedding that gives the same.
  virtual void merge(Tensor& weight) const = 0;
  bool active = true;
};

class Embedding {
 public:
  Embedding(std::string path, int64_t rows, int64_t width);
  Var forward(Context& context, std::shared_ptr<const std::vector<int32_t>> ids);
  std::string path;
  std::shared_ptr<Parameter> weight;  ///< [rows, width]
  std::vector<std::shared_ptr<EmbeddingMethod>> methods;
};

/// RMSNorm, or with `layer` a LayerNorm, whose bias may be there or not.
class Norm {
 public:
  Norm(std::string path, int64_t width, float eps, bool layer = false, bool with_bias = false);
  Var forward(Context& context, const Var& x);
  /// {x + delta, norm of it}.
  std::pair<Var, Var> add_forward(Context& context, const Var& x, const Var& delta);
  std::string path;
  float eps;
  bool layer;
  std::shared_ptr<Parameter> weight;
  std::shared_ptr<Parameter> bias;  ///< may be null
};

/// Where the weights of a block are when it is computed: all resident on one node; sharding and offloading
/// take the same seat. Calls come in the order prefetch(next), acquire(block) … release(block).
class WeightGate {
 public:
  virtual ~WeightGate() = default;
  virtual void prefetch(int64_t block) {}
  virtual void acquire(int64_t block) {}
  virtual void release(int64_t block) {}
};

}  // namespace fettle
