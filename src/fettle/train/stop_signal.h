// SIGINT and SIGTERM ask a run to stop after the step in hand; a second SIGINT ends the program at once.
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
};

}  // namespace fettle
