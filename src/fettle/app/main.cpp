#include "fettle/app/cli.h"

int main(int argc, char** argv) {
  return fettle::app::run(argc, argv);
}
