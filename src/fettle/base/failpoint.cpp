#include "fettle/base/failpoint.h"

#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

namespace fettle {

void failpoint(const char* name) {
  struct Wanted {
    std::string name;
    long left = 0;
    Wanted() {
      const char* text = std::getenv("FETTLE_FAILPOINT");
      if (!text) return;
      name = text;
      left = 1;
      if (size_t colon = name.find(':'); colon != name.npos) {
        left = std::strtol(name.c_str() + colon + 1, nullptr, 10);
        name.resize(colon);
      }
    }
  };
  static Wanted wanted;
  if (wanted.left > 0 && wanted.name == name && --wanted.left == 0) std::raise(SIGKILL);
}

}  // namespace fettle
