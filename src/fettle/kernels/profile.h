// Where the time of a run goes: every op of a backend, timed, with what it computes and moves.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fettle/kernels/backend.h"

namespace fettle {

struct ProfileEvent {
  std::string name;
  double begin = 0, end = 0;  ///< seconds since the profile began
  double flops = 0;           ///< floating-point operations of products; 0 for others
  double bytes = 0;           ///< of tensors read and written
  int depth = 0;              ///< 0: an op; 1: a phase around ops
  uint64_t held = 0;          ///< of phases: held_memory() at their end
};

struct ProfileLine {
  std::string name;
  int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;
};

class Profile {
 public:
  Profile();
  /// A phase around ops ("forward").
  class Phase {
   public:
    /// Nothing when `profile` is null.
    Phase(Profile* profile, std::string name);
    ~Phase();
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    Profile* profile_;
    std::string name_;
    double begin_ = 0;
  };
  double now() const;
  void add(ProfileEvent event);
  const std::vector<ProfileEvent>& events() const { return events_; }
  /// Ops of one name together, the longest first.
  std::vector<ProfileLine> by_op() const;
  double phase_seconds(const std::string& name) const;
  /// Chrome's trace format (chrome://tracing, Perfetto).
  void write_trace(const std::filesystem::path& file) const;

 private:
  double origin_;
  std::vector<ProfileEvent> events_;
};

/// `backend` with every op noted in `profile`. Both outlive it.
std::unique_ptr<Backend> profiled_backend(Backend& backend, Profile& profile);

}  // namespace fettle
