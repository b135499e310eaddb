#include "fettle/base/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace fettle {
namespace {

std::atomic<int>& count() {
  static std::atomic<int> threads = omp_get_max_threads();
  return threads;
}

// Whether this thread is inside a chunk: what it starts there runs serially.
thread_local bool in_chunk = false;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Between the ops of a pass a few microseconds go by, and waking a sleeping thread takes tens of them.
// Waiting threads therefore look for a while before they sleep; a machine shared with other work loses no
// more.
constexpr auto kPatience = std::chrono::microseconds(100);
template <typename Condition>
bool comes_soon(Condition condition) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; ++i) {
      if (condition()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() - start < kPatience);
  return condition();
}

// Threads that help the one that calls run(). Chunks are handed out one at a time. A helper that wakes too
// late finds the door closed, so small jobs never wait for it.
class Team {
 public:
  void run(int64_t chunks, void (*call)(void*, int64_t), void* body) {
    std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy) {  // another thread has the team
      for (int64_t i = 0; i < chunks; ++i) call(body, i);
      return;
    }
    hire(static_cast<int>(std::min<int64_t>(count(), chunks)) - 1);
    chunks_ = chunks;
    call_ = call;
    body_ = body;
    failure_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    inside_.store(kOpen, std::memory_order_release);
    job_.fetch_add(1, std::memory_order_release);
    job_.notify_all();
    work();
    if (inside_.fetch_and(~kOpen, std::memory_order_acq_rel) != kOpen) {
      auto empty = [this] { return inside_.load(std::memory_order_acquire) == 0; };
      if (!comes_soon(empty))
        for (uint32_t now; (now = inside_.load(std::memory_order_acquire)) != 0;) inside_.wait(now);
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  // The helpers inside, and whether more may enter.
  static constexpr uint32_t kOpen = uint32_t{1} << 31;

  void hire(int helpers) {
    helpers_wanted_.store(helpers, std::memory_order_relaxed);
    try {
      for (; helpers_ < helpers; ++helpers_)
        std::thread([this, number = helpers_, job = job_.load()] { help(number, job); }).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads: those that exist do the work.
    }
  }

  void help(int number, uint32_t seen) {
    for (;;) {
      if (!comes_soon([&] { return job_.load(std::memory_order_acquire) != seen; })) job_.wait(seen);
      seen = job_.load(std::memory_order_acquire);
      uint32_t inside = inside_.load(std::memory_order_acquire);
      while ((inside & kOpen) != 0 && !inside_.compare_exchange_weak(inside, inside + 1)) {
      }
      if ((inside & kOpen) == 0) continue;
      if (number < helpers_wanted_.load(std::memory_order_relaxed)) work();
      if (inside_.fetch_sub(1, std::memory_order_acq_rel) == 1) inside_.notify_one();
    }
  }

  void work() {
    in_chunk = true;
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;) {
      try {
        call_(body_, i);
      } catch (...) {
        std::lock_guard lock(failing_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
    in_chunk = false;
  }

  std::mutex busy_, failing_;
  int helpers_ = 0;
  std::atomic<int> helpers_wanted_{0};
  int64_t chunks_ = 0;
  void (*call_)(void*, int64_t) = nullptr;
  void* body_ = nullptr;
  std::exception_ptr failure_;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> inside_{0};
  alignas(64) std::atomic<uint32_t> job_{0};
};

// Never destroyed: its threads live until the process ends.
Team& team() {
  static Team& one = *new Team;
  return one;
}

}  // namespace

int thread_count() {
  return count().load(std::memory_order_relaxed);
}
void set_thread_count(int threads) {
  count().store(threads, std::memory_order_relaxed);
}

namespace detail {
void parallel_run(int64_t chunks, void (*call)(void*, int64_t), void* body) {
  if (chunks > 1 && !in_chunk && thread_count() > 1) return team().run(chunks, call, body);
  for (int64_t i = 0; i < chunks; ++i) call(body, i);
}
}  // namespace detail

}  // namespace fettle
