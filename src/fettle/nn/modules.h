// Modules: named weights and the ops that use them. A module's path is its Hugging Face path.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

class Linear;

/// What a parameter-efficient method adds to one linear. Implementations live in peft/, one file a method.
class LinearMethod {
 public:
  virtual ~LinearMethod() = default;
  /// The output of `base` with the method in place.
  virtual Var forward(Context& context, Linear& base, const Var& x) = 0;
  /// The method's own weights, in the order in which they are saved.
  virtual std::vector<Parameter*> parameters() = 0;
  /// weight += what the method adds. `weight`: f32, in the base's layout.
  virtual void merge_into(Tensor& weight) const = 0;
};

/// y = x Wᵀ + b. weight [out, in]; [in, out] for GPT-2's Conv1D.
class Linear {
 public:
  Linear(std::string path, int64_t in_features, int64_t out_features, bool with_bias, bool conv1d = false);
  Var forward(Context& context, const Var& x);
  /// Whether anything here, the method included, is trainable.
  bool trainable() const;

  std::string path;
  int64_t in_features, out_features;
  bool conv1d;
  std::shared_ptr<Parameter> weight;
  std::shared_ptr<Parameter> bias;  ///< may be null
  std::shared_ptr<LinearMethod> method;
};

class Embedding {
 public:
  Embedding(std::string path, int64_t rows, int64_t width);
  Var forward(Context& context, std::shared_ptr<const std::vector<int32_t>> ids) {
    return embedding(context, ids, *weight);
  }
  std::string path;
  std::shared_ptr<Parameter> weight;  ///< [rows, width]
};

class RMSNorm {
 public:
  RMSNorm(std::string path, int64_t width, float eps);
  Var forward(Context& context, const Var& x) { return rms_norm(context, x, *weight, eps); }
  std::string path;
  float eps;
  std::shared_ptr<Parameter> weight;
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
