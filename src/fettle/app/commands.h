// Every command of the program; each is defined in a file of its own.
#pragma once
#include <CLI/App.hpp>

#include "fettle/base/config/config.h"

namespace fettle::app {

void add_chat(CLI::App& root);
void add_generate(CLI::App& root);
void add_score(CLI::App& root);
void add_config(CLI::App& root);
void add_doctor(CLI::App& root);
void add_version(CLI::App& root);
void add_completion(CLI::App& root);
void add_train(CLI::App& root);
void add_evaluate(CLI::App& root);
void add_runs(CLI::App& root);
void add_sweep(CLI::App& root);
void add_export(CLI::App& root);
void add_adapter(CLI::App& root);
void add_quantize(CLI::App& root);
void add_init_model(CLI::App& root);
void add_tokenize(CLI::App& root);
void add_data(CLI::App& root);

/// What `fettle evaluate` does; see there.
void evaluate(const Config& config);

/// Adds all of the above in the order of the help.
void add_all_commands(CLI::App& root);

}  // namespace fettle::app
