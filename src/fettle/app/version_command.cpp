// fettle version
#include <cstdio>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/version.h"
#include "fettle/kernels/backend.h"

namespace fettle::app {

void add_version(CLI::App& root) {
  CLI::App& command =
      add_command(root, "version", "Print the version and the CPU path in use", "Information");
  command.callback([] {
    fmt::print("fettle {}\ncpu path: {}\ncompiler: {}\n", kVersion, cpu_backend_description(),
               "GCC " __VERSION__);
  });
}

}  // namespace fettle::app
