// Places where a test can make the program die, to prove that nothing is lost there.
#pragma once

namespace fettle {

/// With FETTLE_FAILPOINT=name:n in the environment the n-th call with this name (the first without ":n") ends
/// the process by SIGKILL, as a power cut would. Without it the call costs a comparison.
void failpoint(const char* name);

}  // namespace fettle
