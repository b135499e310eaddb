#include "fettle/base/threads.h"

#include <omp.h>

#include <exception>
#include <mutex>

namespace fettle {

int thread_count() {
  return omp_get_max_threads();
}
void set_thread_count(int count) {
  omp_set_num_threads(count);
}

namespace detail {
void parallel_run(int64_t chunks, void (*call)(void*, int64_t), void* body) {
  if (chunks <= 1 || omp_get_max_threads() == 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < chunks; ++i) call(body, i);
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t i = 0; i < chunks; ++i) {
    try {
      call(body, i);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}
}  // namespace detail

}  // namespace fettle
