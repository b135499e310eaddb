// Threads. Work is cut into chunks by its size alone, never by the number of threads, so results do not
// depend on it.
#pragma once
#include <cstdint>
#include <type_traits>

namespace fettle {

/// Number of threads that parallel_for uses: OMP_NUM_THREADS or the cores this process may run on.
int thread_count();
void set_thread_count(int count);

namespace detail {
void parallel_run(int64_t chunks, void (*call)(void*, int64_t), void* body);
}

/// Calls body(chunk) for chunk = 0 … chunks-1, each exactly once, in any order, on up to thread_count()
/// threads. Nested calls run serially. An exception of a chunk is rethrown after all have ended.
template <typename Body>
void parallel_for(int64_t chunks, Body&& body) {
  using B = std::remove_reference_t<Body>;
  detail::parallel_run(
      chunks, [](void* b, int64_t chunk) { (*static_cast<B*>(b))(chunk); }, &body);
}

}  // namespace fettle
