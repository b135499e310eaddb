// SIGINT and SIGTERM ask a run to stop after the step in hand, SIGUSR1 to save and go on; a second SIGINT
// ends the program at once.
#pragma once

namespace fettle {

class StopSignal {
 public:
  /// Installs the handlers; the destructor restores the old ones.
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();
  /// True once for every time that saving was asked for.
  static bool take_save_request();
};

}  // namespace fettle
