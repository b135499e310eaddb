#include "fettle/app/commands.h"

namespace fettle::app {

void add_all_commands(CLI::App& root) {
  add_version(root);
}

}  // namespace fettle::app
