#include <malloc.h>

#include "fettle/app/cli.h"

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Freed blocks of this size go back to the system at once. By default glibc keeps them in its heap as soon
  // as one was freed, so the peak of a run would depend on the order of what libraries allocate. oneDNN takes
  // buffers of some MB for every product: those stay, or each product would fault in its pages anew.
  ::mallopt(M_MMAP_THRESHOLD, 8 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
  return fettle::app::run(argc, argv);
}
