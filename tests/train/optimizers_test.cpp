// Every optimizer against its reference implementation. Fixtures: tools/golden/make_optimizers.py.
#include "fettle/train/optimizers/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/formats/safetensors.h"
#include "support.h"

namespace fettle {
namespace {

struct Case {
  std::string name;
  OptimizerOptions options;
  double tolerance = 2e-5;
};

OptimizerOptions options_of(const std::string& name,
                            const std::function<void(OptimizerOptions&)>& change = {}) {
  OptimizerOptions o{.name = name, .beta2 = 0.98, .weight_decay = 0.1};
  o.projected = [](const Parameter& p) { return p.name.find("_proj.weight") != p.name.npos; };
  if (name == "adagrad") o.epsilon = 1e-10;
  if (change) change(o);
  return o;
}

std::vector<Case> cases() {
  return {
      {"adamw", options_of("adamw")},
      {"adamw_8bit", options_of("adamw_8bit")},
      {"sgd", options_of("sgd")},
      {"sgd-momentum", options_of("sgd",
                                  [](auto& o) {
                                    o.momentum = 0.9;
                                    o.dampening = 0.1;
                                  })},
      {"sgd-nesterov", options_of("sgd",
                                  [](auto& o) {
                                    o.momentum = 0.9;
                                    o.nesterov = true;
                                  })},
      {"adagrad", options_of("adagrad", [](auto& o) { o.lr_decay = 0.1; })},
      {"rmsprop", options_of("rmsprop")},
      {"rmsprop-centered", options_of("rmsprop",
                                      [](auto& o) {
                                        o.momentum = 0.8;
                                        o.centered = true;
                                        o.alpha = 0.9;
                                      })},
      {"lion", options_of("lion")},
      {"adafactor", options_of("adafactor")},
      {"muon", options_of("muon"), 2e-4},
      {"schedule_free_adamw", options_of("schedule_free_adamw",
                                         [](auto& o) {
                                           o.warmup_steps = 3;
                                           o.r = 0.5;
                                         })},
      {"schedule_free_sgd", options_of("schedule_free_sgd", [](auto& o) { o.warmup_steps = 2; })},
      {"galore_adamw",
       options_of("galore_adamw",
                  [](auto& o) {
                    o.rank = 4;
                    o.update_proj_gap = 100;
                  }),
       1e-4},
      {"galore_adamw-reverse",
       options_of("galore_adamw",
                  [](auto& o) {
                    o.rank = 4;
                    o.update_proj_gap = 100;
                    o.scale = 2;
                    o.proj_type = "reverse_std";
                  }),
       5e-4},
      {"apollo_adamw",
       options_of("apollo_adamw",
                  [](auto& o) {
                    o.rank = 4;
                    o.update_proj_gap = 100;
                    o.scale = 1;
                    o.random_projection = false;
                  }),
       1e-4},
      {"apollo_adamw-tensor",
       options_of("apollo_adamw",
                  [](auto& o) {
                    o.rank = 4;
                    o.update_proj_gap = 100;
                    o.scale = 4;
                    o.random_projection = false;
                    o.scale_by_channel = false;
                  }),
       1e-4},
  };
}

class GoldenOptimizer : public ::testing::TestWithParam<Case> {
 protected:
  GoldenOptimizer() : file_(test::golden_dir() / "optimizers/golden.safetensors") {
    golden_ = read_json(test::golden_dir() / "optimizers/golden.json");
  }
  void make_parameters() {
    owned_.clear();
    for (const auto& [key, info] : file_.tensors()) {
      if (!key.starts_with("start.")) continue;
      owned_.push_back(std::make_unique<Parameter>(key.substr(6), info.shape));
      owned_.back()->value = file_.tensor(key).clone();
    }
  }
  std::vector<Parameter*> parameters() const {
    std::vector<Parameter*> all;
    for (const auto& p : owned_) all.push_back(p.get());
    return all;
  }
  void step(Optimizer& optimizer, int64_t k, double grad_scale = 1) {
    for (Parameter* p : optimizer.parameters()) {
      Tensor g = file_.tensor(fmt::format("grad.{}.{}", k, p->name));
      p->gradient_buffer().assign(g.raw(), g.nbytes());
      if (grad_scale != 1) cpu_backend().scale(p->gradient, 1 / grad_scale);
    }
    const bool free = GetParam().options.name.starts_with("schedule_free");
    optimizer.step(free ? 0.01 : golden_["rates"][static_cast<size_t>(k - 1)].get<double>(), grad_scale);
  }
  void compare(const std::string& prefix) {
    for (Parameter* p : parameters()) {
      Tensor want = file_.tensor(prefix + p->name);
      double most = 0;
      int64_t far = 0;
      for (int64_t i = 0; i < want.numel(); ++i) {
        double difference = std::abs(p->value.data<float>()[i] - want.data<float>()[i]);
        most = std::max(most, difference);
        far += difference > GetParam().tolerance;
      }
      // A code of 8 bits may fall to its neighbour where two roundings disagree.
      EXPECT_LE(far, GetParam().name.ends_with("8bit") ? want.numel() / 500 : 0)
          << p->name << ", largest " << most;
    }
  }

  SafetensorsFile file_;
  Json golden_ = Json();
  std::vector<std::unique_ptr<Parameter>> owned_;
};

TEST_P(GoldenOptimizer, StepsAreThoseOfTheReference) {
  for (double grad_scale : {1.0, 0.25}) {
    make_parameters();
    auto optimizer = make_optimizer(cpu_backend(), parameters(), GetParam().options);
    for (int64_t k = 1; k <= golden_["steps"].get<int64_t>(); ++k) step(*optimizer, k, grad_scale);
    compare(GetParam().name + ".8.");
    if (!GetParam().options.name.starts_with("schedule_free")) continue;
    std::vector<Tensor> before;
    for (Parameter* p : parameters()) before.push_back(p->value.clone());
    optimizer->show_average(true);
    compare(GetParam().name + ".average.");
    optimizer->show_average(false);
    for (size_t i = 0; i < before.size(); ++i)
      EXPECT_EQ(std::memcmp(before[i].raw(), parameters()[i]->value.raw(), before[i].nbytes()), 0);
  }
}

TEST_P(GoldenOptimizer, StateGoesToAFileAndBackToTheBit) {
  test::TempDir dir;
  make_parameters();
  OptimizerOptions options = GetParam().options;
  auto optimizer = make_optimizer(cpu_backend(), parameters(), options);
  for (int64_t k = 1; k <= 4; ++k) step(*optimizer, k);
  optimizer->write(dir / "state.safetensors");
  for (int64_t k = 5; k <= 8; ++k) step(*optimizer, k);
  std::vector<Tensor> whole;
  for (Parameter* p : parameters()) whole.push_back(p->value.clone());

  make_parameters();
  options.paged_in = dir.path();  // where the state lies makes no difference
  auto resumed = make_optimizer(cpu_backend(), parameters(), options);
  resumed->read(dir / "state.safetensors", 4);
  for (int64_t k = 5; k <= 8; ++k) step(*resumed, k);
  for (size_t i = 0; i < whole.size(); ++i)
    EXPECT_EQ(std::memcmp(whole[i].raw(), parameters()[i]->value.raw(), whole[i].nbytes()), 0)
        << parameters()[i]->name;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenOptimizer, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Optimizers, ApolloWithRandomProjectionsLowersALossAndUnknownNamesAreRefused) {
  Parameter p("model.layers.0.mlp.up_proj.weight", {24, 40});
  p.value = Tensor::zeros({24, 40}, DType::kF32);
  for (int64_t i = 0; i < p.numel(); ++i) p.value.data<float>()[i] = std::sin(static_cast<float>(i));
  OptimizerOptions options = options_of("apollo_adamw", [](auto& o) {
    o.rank = 4;
    o.scale = 16;
    o.weight_decay = 0;
  });
  auto optimizer = make_optimizer(cpu_backend(), {&p}, options);
  double before = cpu_backend().sum_squares(p.value);
  for (int k = 0; k < 50; ++k) {
    p.gradient_buffer().assign(p.value.raw(), p.value.nbytes());  // of |p|^2 / 2
    optimizer->step(0.01, 1);
  }
  EXPECT_LT(cpu_backend().sum_squares(p.value), 0.5 * before);
  EXPECT_THROW(make_optimizer(cpu_backend(), {&p}, {.name = "sofia"}), Error);
}

}  // namespace
}  // namespace fettle
