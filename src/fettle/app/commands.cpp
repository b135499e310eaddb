#include "fettle/app/commands.h"

namespace fettle::app {

void add_all_commands(CLI::App& root) {
  add_train(root);
  add_evaluate(root);
  add_runs(root);
  add_sweep(root);
  add_export(root);
  add_adapter(root);
  add_quantize(root);
  add_init_model(root);
  add_chat(root);
  add_generate(root);
  add_score(root);
  add_tokenize(root);
  add_data(root);
  add_config(root);
  add_doctor(root);
  add_version(root);
  add_completion(root);
}

}  // namespace fettle::app
