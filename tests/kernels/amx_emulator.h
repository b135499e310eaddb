// AMX on machines without it: the instructions that kernels/cpu/bf16_tiles_amx.cpp is made of raise SIGILL
// there, and a handler does what they would. For tests of its results, not of its speed.
#pragma once

namespace fettle::test {

/// Emulates while it lives, unless the machine has AMX and Linux lets the process use it.
class AmxEmulator {
 public:
  AmxEmulator();
  ~AmxEmulator();
  AmxEmulator(const AmxEmulator&) = delete;
  AmxEmulator& operator=(const AmxEmulator&) = delete;
  bool emulates() const { return emulates_; }

 private:
  bool emulates_ = false;
};

}  // namespace fettle::test
