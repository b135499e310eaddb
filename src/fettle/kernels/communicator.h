// The seam between ranks: one process today; MPI and NCCL take the same seat.
#pragma once
#include <memory>
#include <string>

#include "fettle/tensor/tensor.h"

namespace fettle {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Sum over ranks, in rank order, in place. f32 or f64.
  virtual void all_reduce_sum(Tensor& x) = 0;
  virtual void barrier() = 0;
};

/// The communicator of a run of one process: every operation is the identity.
Communicator& single_process();

}  // namespace fettle
