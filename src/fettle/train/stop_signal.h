// SIGINT, SIGTERM and SIGHUP ask a run to stop after the step in hand, SIGUSR1 to save and go on; a second
// SIGINT ends the program at once.
#pragma once
#include <signal.h>

#include <utility>
#include <vector>

namespace fettle {

class StopSignal {
 public:
  /// From here on SIGUSR1 is noted. The destructor restores what was.
  StopSignal();
  /// From here on requests to stop wait for the step in hand. Before, they end the program at once: there is
  /// nothing to save. A SIGHUP that is ignored (nohup) stays so.
  void hold();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();
  /// True once for every time that saving was asked for.
  static bool take_save_request();

 private:
  void install(int signal, void (*handler)(int));
  std::vector<std::pair<int, struct sigaction>> old_;
};

}  // namespace fettle
