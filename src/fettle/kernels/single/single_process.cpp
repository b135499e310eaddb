#include "fettle/kernels/communicator.h"

namespace fettle {
namespace {

class SingleProcess final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(Tensor&) override {}
  void barrier() override {}
};

}  // namespace

Communicator& single_process() {
  static SingleProcess communicator;
  return communicator;
}

}  // namespace fettle
