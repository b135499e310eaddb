// Values that are made again for backward: the same bits, and less memory between forward and backward.
#include <gtest/gtest.h>

#include "fettle/autograd/ops.h"
#include "fettle/base/random.h"
#include "support.h"

namespace fettle {
namespace {

constexpr int64_t kTokens = 64, kHidden = 128, kInner = 512;

void fill(Tensor& tensor, uint32_t site) {
  RandomStream stream({7, RandomUse::kInit, site, 0});
  for (float& value : tensor.span<float>()) value = static_cast<float>(stream.normal()) * 0.1f;
}

struct Mlp {
  Parameter norm{"norm", {kHidden}}, gate{"gate", {kInner, kHidden}}, up{"up", {kInner, kHidden}},
      down{"down", {kHidden, kInner}};

  Mlp() {
    uint32_t site = 0;
    for (Parameter* p : all()) {
      p->value = Tensor::empty(p->shape, DType::kF32);
      fill(p->value, ++site);
      p->trainable = true;
      p->gradient_buffer();
    }
  }
  std::vector<Parameter*> all() { return {&norm, &gate, &up, &down}; }
};

struct Outcome {
  std::vector<Tensor> gradients;
  uint64_t kept = 0;  // bytes of the activations that live between forward and backward
};

Outcome run(bool remakes) {
  Mlp mlp;
  Tensor x = Tensor::empty({kTokens, kHidden}, DType::kF32);
  fill(x, 99);
  Outcome outcome;
  Tape tape;
  Context context{
      .backend = &cpu_backend(), .tape = &tape, .compute = DType::kF32, .training = true, .remakes = remakes};
  Var in(x, true);
  auto activations = [] {
    return HostMemory::instance().report().kinds[static_cast<size_t>(MemoryKind::kActivations)].current;
  };
  const uint64_t before = activations();
  Var out;
  {
    Var normed = rms_norm(context, in, mlp.norm, 1e-6f);
    Var inner =
        swiglu(context, linear(context, normed, mlp.gate, nullptr), linear(context, normed, mlp.up, nullptr));
    out = linear(context, inner, mlp.down, nullptr);
  }
  outcome.kept = activations() - before;
  out.slot->accumulate(cpu_backend(), out.value, true);
  tape.backward();
  for (Parameter* p : mlp.all()) outcome.gradients.push_back(p->gradient);
  outcome.gradients.push_back(in.slot->gradient());
  return outcome;
}

TEST(Remake, SameBitsWithLessMemory) {
  Outcome kept = run(false), remade = run(true);
  for (size_t i = 0; i < kept.gradients.size(); ++i) {
    const Tensor &a = kept.gradients[i], &b = remade.gradients[i];
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.nbytes()), 0) << i;
    float sum = 0;
    for (float value : a.span<float>()) sum += std::abs(value);
    EXPECT_GT(sum, 0) << i;
  }
  EXPECT_EQ(kept.kept - remade.kept, static_cast<uint64_t>(kTokens * (kHidden + kInner)) * sizeof(float))
      << "the norm and the gated product";
}

TEST(Remake, IsLetGoOfWhenTheLastHasTakenIt) {
  int made = 0;
  auto remake = std::make_shared<Remake>([&] {
    ++made;
    return Tensor::zeros({4}, DType::kF32);
  });
  Var x(Tensor::zeros({4}, DType::kF32), true);
  x.remake = remake;
  Kept one(x), two(x), three(reshape(x, {2, 2}));
  EXPECT_EQ(one.take().shape(), (Shape{4}));
  EXPECT_EQ(two.take().shape(), (Shape{4}));
  EXPECT_EQ(three.take().shape(), (Shape{2, 2}));
  EXPECT_EQ(made, 1);
  remake->expect();
  remake->take();
  EXPECT_EQ(made, 2);
}

}  // namespace
}  // namespace fettle
