// The table of optimizers.
#include "fettle/base/error.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

using Maker = std::unique_ptr<Optimizer> (*)(Backend&, std::vector<Parameter*>, OptimizerOptions);
constexpr std::pair<const char*, Maker> kOptimizers[] = {
    {"adamw", make_adamw},
    {"adamw_8bit", make_adamw_8bit},
    {"sgd", make_sgd},
    {"adagrad", make_adagrad},
    {"rmsprop", make_rmsprop},
    {"lion", make_lion},
    {"lion_8bit", make_lion_8bit},
    {"adafactor", make_adafactor},
    {"muon", make_muon},
    {"schedule_free_adamw", make_schedule_free_adamw},
    {"schedule_free_sgd", make_schedule_free_sgd},
    {"galore_adamw", make_galore},
    {"apollo_adamw", make_apollo},
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(Backend& backend, std::vector<Parameter*> parameters,
                                          OptimizerOptions options) {
  std::vector<std::string> names;
  for (const auto& [name, make] : kOptimizers) {
    if (options.name == name) return make(backend, std::move(parameters), std::move(options));
    names.emplace_back(name);
  }
  fail_usage("no optimizer \"{}\"; known: {}", options.name, fmt::join(names, ", "));
}

}  // namespace fettle
