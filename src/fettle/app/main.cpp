#include <malloc.h>

#include "fettle/app/cli.h"

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Large blocks that are freed go back to the system at once. By default glibc keeps them in its heap as
  // soon as one was freed, so the peak of a run would depend on the order of what libraries allocate.
  ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
  return fettle::app::run(argc, argv);
}
