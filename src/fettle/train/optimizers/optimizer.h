// Optimizers over named f32 parameters, with Trainer's two groups of weight decay. One file a family; the
// table is in optimizers.cpp.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/tape.h"
#include "fettle/base/random.h"

namespace fettle {

/// Whether Trainer's create_optimizer decays a parameter: not biases and not the weights of norms.
bool decays(const std::string& parameter_name);

struct OptimizerOptions {
  /// As `optim` spells them, after aliases: adamw, adamw_8bit, sgd, adagrad, rmsprop, lion, lion_8bit,
  /// adafactor, muon, schedule_free_adamw, schedule_free_sgd, galore_adamw, apollo_adamw.
  std::string name = "adamw";
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  /// Factor of the learning rate of a parameter (LoRA+); empty: 1 for all.
  std::function<double(const Parameter&)> learning_rate_factor = {};
  /// State in a file that the system may write back and drop from memory, in this folder; empty: in memory.
  std::filesystem::path paged_in;

  double momentum = 0, dampening = 0;       ///< sgd, rmsprop; muon's is 0.95
  bool nesterov = false, centered = false;  ///< sgd; rmsprop
  double alpha = 0.99, lr_decay = 0;        ///< rmsprop; adagrad
  int64_t warmup_steps = 0;                 ///< schedule_free
  double r = 0, weight_lr_power = 2;        ///< schedule_free
  /// galore and apollo: parameters that are projected, by name; all of them have two dimensions.
  std::function<bool(const Parameter&)> projected = {};
  int64_t rank = 128, update_proj_gap = 200;
  double scale = 0.25;
  std::string proj_type = "std";  ///< std, reverse_std, left, right
  bool random_projection = true;  ///< apollo; false: by singular vectors as galore
  bool scale_by_channel = true;   ///< apollo; false: one factor for the matrix
  bool scale_front = false;       ///< apollo: scale before the norm-growth limiter
  uint64_t seed = 42;             ///< of random projections and roundings
};

class Optimizer {
 public:
  /// Parameters are f32, or bf16, which are updated in f32 and rounded at random; their gradients are
  /// allocated.
  Optimizer(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update with gradients multiplied by `grad_scale`.
  void step(double learning_rate, double grad_scale);
  void zero_grad();
  /// Global L2 norm of all gradients, summed in parameter order.
  double gradient_norm() const;
  /// True when every gradient is finite; else `first` names the first bad parameter.
  bool gradients_finite(std::string* first) const;
  int64_t steps() const { return steps_; }
  /// Weights and state of every parameter as <name>, <name>.exp_avg …
  void write(const std::filesystem::path& path) const;
  /// The way back, after `steps` updates. Error(kBadInput) when a tensor is missing or has another shape.
  void read(const std::filesystem::path& path, int64_t steps);
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  /// What all state takes, in memory or paged.
  uint64_t state_bytes() const;
  /// Takes the memory that step() and show_average() take for a while (tensor/memory.h's rehearsals).
  virtual void rehearse_step() const;

  /// Between true and false the parameters hold what is to be evaluated and saved, where that differs from
  /// what is trained (schedule-free).
  virtual void show_average(bool shown) {}

 protected:
  /// A tensor that a resumed run needs, by the name that it has behind its parameter's.
  struct State {
    const char* name;
    Tensor value;
  };
  /// Zeros, paged if asked for.
  Tensor new_state(const Shape& shape, DType dtype = DType::kF32) const;
  virtual void update(size_t index, double learning_rate, float grad_scale) = 0;
  /// Elements of the f32 tensors that update() holds at once beside the state.
  virtual std::vector<int64_t> update_workspace(size_t index) const { return {}; }
  /// Before the updates of one step.
  virtual void begin_step(double learning_rate) {}
  double decay_of(size_t index) const;
  /// AdamW on one parameter; states_[index] begins with both moments.
  void adamw_step(size_t index, double learning_rate, float grad_scale);

  Backend& backend_;
  std::vector<Parameter*> parameters_;
  OptimizerOptions options_;
  std::vector<std::vector<State>> states_;  ///< of each parameter
  std::vector<State> shared_states_;        ///< of the optimizer, under "optimizer."
  int64_t steps_ = 0;

 private:
  template <typename Visit>
  void visit_tensors(Visit&& visit) const;
};

/// `values`, f32, into `out`, bf16: up or down with the probability that makes the mean exact (stochastic
/// rounding, Gupta et al., arXiv 1502.02551). A function of the key and the place alone.
void round_at_random(const Tensor& values, const RandomKey& key, Tensor& out);

/// Error(kUsage) listing the known ones for an unknown name.
std::unique_ptr<Optimizer> make_optimizer(Backend& backend, std::vector<Parameter*> parameters,
                                          OptimizerOptions options);

// The families, for the table.
std::unique_ptr<Optimizer> make_adamw(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_adamw_8bit(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_lion_8bit(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_sgd(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_adagrad(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_rmsprop(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_lion(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_adafactor(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_muon(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_schedule_free_adamw(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_schedule_free_sgd(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_galore(Backend&, std::vector<Parameter*>, OptimizerOptions);
std::unique_ptr<Optimizer> make_apollo(Backend&, std::vector<Parameter*>, OptimizerOptions);

}  // namespace fettle
