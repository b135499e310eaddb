// The commands below `fettle data` that have files of their own.
#pragma once
#include <CLI/App.hpp>

namespace fettle::app {

void add_convert(CLI::App& data);
void add_anonymize(CLI::App& data);

}  // namespace fettle::app
