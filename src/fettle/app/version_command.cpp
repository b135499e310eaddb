#include <cstdio>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"

namespace fettle::app {

void add_version(CLI::App& root) {
  CLI::App& command =
      add_command(root, "version", "Print the version and the CPU path in use", "Information");
  command.callback([] { fmt::print("fettle {}\n", "0.1.0"); });
}

}  // namespace fettle::app
