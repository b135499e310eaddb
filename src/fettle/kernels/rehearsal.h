// A backend for rehearsals (tensor/memory.h): what a run would take of memory, seen without computing it.
#pragma once
#include <memory>

#include "fettle/kernels/backend.h"

namespace fettle {

/// Computes nothing and reads no tensor. Each op takes the working memory that cpu_backend() would take for
/// the same call with the present number of threads, unless `only_tensors`; numbers it returns are 0 or true.
std::unique_ptr<Backend> rehearsal_backend(bool only_tensors = false);

}  // namespace fettle
