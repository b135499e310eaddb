#include "fettle/peft/lora_init.h"

#include <charconv>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/eigen_matrix.h"
#include "fettle/peft/low_rank.h"

namespace fettle {
namespace {

using MatrixMap = Eigen::Map<Matrix>;

MatrixMap mapped(Tensor& t) {
  return {t.data<float>(), t.dim(0), t.dim(1)};
}

void fill_pissa(const Linear& linear, LoraMethod& method, int64_t rounds, uint64_t seed) {
  Tensor weight = dense_weight(linear);
  int64_t r = method.a->shape[0];
  Triplets t =
      rounds < 0 ? largest_triplets(weight, r) : subspace_triplets(weight, r, rounds, seed, method.a->name);
  Eigen::VectorXf root = (Eigen::Map<Eigen::VectorXf>(t.s.data<float>(), r) / method.term.scale).cwiseSqrt();
  mapped(method.a->value) = root.asDiagonal() * mapped(t.v).transpose();
  mapped(method.b->value) = mapped(t.u) * root.asDiagonal();
}

// Q[:, :r] depends on the first r columns alone, and R[:r] = Qᵀ W.
void fill_olora(const Linear& linear, LoraMethod& method) {
  Tensor weight = dense_weight(linear);
  int64_t r = method.a->shape[0];
  MatrixMap w = mapped(weight);
  Matrix q = orthonormal(w.leftCols(r));
  mapped(method.a->value) = q.transpose() * w;
  mapped(method.b->value) = q;
}

void fill_orthogonal(const Linear& linear, LoraMethod& method, uint64_t seed) {
  int64_t r = method.a->shape[0], half = r / 2;
  if (r % 2 != 0) fail_usage("init_lora_weights orthogonal: the rank must be even, found {}", r);
  Matrix q = orthonormal(random_matrix(r, r, seed, method.a->name + ".q"));
  Matrix even(half, r), odd(half, r);
  for (int64_t i = 0; i < half; ++i) {
    even.row(i) = q.row(2 * i);
    odd.row(i) = q.row(2 * i + 1);
  }
  Matrix left = random_matrix(linear.in_features, half, seed, method.a->name);
  Matrix right = random_matrix(half, linear.out_features, seed, method.b->name);
  mapped(method.a->value) = (left * even).transpose() / 10.0f;
  mapped(method.b->value) = right.transpose() * odd / 10.0f;
}

}  // namespace

LoraInit initialise_lora(const std::string& init, const Linear& linear, LoraMethod& method, uint64_t seed) {
  int64_t r = method.a->shape[0];
  if (init == "true") {
    fill_kaiming_uniform(*method.a, seed);
    return {};
  }
  if (init == "false") {
    fill_kaiming_uniform(*method.a, seed);
    fill_kaiming_uniform(*method.b, seed);
    return {};
  }
  if (init == "gaussian") {
    fill_normal(*method.a, 1.0 / static_cast<double>(r), seed);
    return {};
  }
  if (init == "orthogonal") {
    fill_orthogonal(linear, method, seed);
    return {};
  }
  constexpr std::string_view kRounds = "pissa_niter_";
  if (init == "pissa" || init == "olora" || init.starts_with(kRounds)) {
    if (r > std::min(linear.in_features, linear.out_features))
      fail_usage("init_lora_weights {}: rank {} is larger than {} has ({} x {})", init, r, linear.path,
                 linear.out_features, linear.in_features);
    if (init == "olora") {
      fill_olora(linear, method);
      return {.changes_base = true};
    }
    int64_t rounds = -1;
    if (init != "pissa") {
      const char* begin = init.data() + kRounds.size();
      auto [end, error] = std::from_chars(begin, init.data() + init.size(), rounds);
      if (error != std::errc() || end != init.data() + init.size() || rounds < 0 || rounds > 1000)
        fail_usage("init_lora_weights \"{}\": expected pissa_niter_N with N from 0 to 1000", printable(init));
    }
    fill_pissa(linear, method, rounds, seed);
    return {.changes_base = true};
  }
  fail_usage(
      "init_lora_weights \"{}\" is not available; known: true, false, gaussian, orthogonal, pissa, "
      "pissa_niter_N, olora, loftq, eva, corda, lora_ga",
      printable(init));
}

LoraInit initialise_loftq(const LoftQ& settings, const Linear& linear, LoraMethod& method) {
  if (linear.weight->quantized)
    fail_usage("init_lora_weights loftq: {} is quantised already; start from the unquantised model",
               linear.path);
  if (linear.conv1d)
    fail_usage("init_lora_weights loftq: {} is a Conv1D, which is not quantised", linear.path);
  const int64_t r = method.a->shape[0];
  if (r > std::min(linear.in_features, linear.out_features))
    fail_usage("init_lora_weights loftq: rank {} is larger than {} has ({} x {})", r, linear.path,
               linear.out_features, linear.in_features);
  Tensor weight = dense_weight(linear), rest = f32_copy(weight);
  LoraInit result;
  for (int64_t round = 0; round < settings.rounds; ++round) {
    if (round > 0) {
      rest = f32_copy(weight);
      add_low_rank(rest, method.b->value, method.a->value, -1.0f);
    }
    // Rounded to what the base computes with, as a base that is loaded in 4 bits is.
    Tensor stored = rest.to(linear.weight->value.dtype(), MemoryKind::kWorkspace);
    result.quantized_base = settings.bits == 8 ? quantize_8bit(stored)
                                               : quantize_4bit(stored, settings.kind, settings.blocksize,
                                                               settings.double_quantization);
    Tensor residual = dequantize(*result.quantized_base);
    MatrixMap left = mapped(residual);
    left = mapped(weight) - left;
    Triplets t = best_triplets(residual, r, method.a->name);
    Eigen::VectorXf root = Eigen::Map<Eigen::VectorXf>(t.s.data<float>(), r).cwiseSqrt();
    mapped(method.a->value) = root.asDiagonal() * mapped(t.v).transpose();
    mapped(method.b->value) = mapped(t.u) * root.asDiagonal();
  }
  return result;
}

}  // namespace fettle
