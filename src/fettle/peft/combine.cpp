#include "fettle/peft/combine.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/kernels/backend.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/low_rank.h"

namespace fettle {
namespace {

struct Term {
  const LoraPair* pair;
  double weight;  ///< the user's times the adapter's own scale
};

// The share `density` of largest magnitude; the rest becomes zero.
void keep_largest(Tensor& x, double density) {
  if (density >= 1) return;
  std::span<float> values = x.span<float>();
  size_t keep = static_cast<size_t>(density * static_cast<double>(values.size()));
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(keep), order.end(),
                   [&](size_t i, size_t j) { return std::abs(values[i]) > std::abs(values[j]); });
  for (size_t i = keep; i < order.size(); ++i) values[order[i]] = 0;
}

void drop_at_random(Tensor& x, double density, uint64_t seed, const std::string& site) {
  if (density >= 1) return;
  RandomStream stream({seed, RandomUse::kInit, random_site(site), 2});
  for (float& value : x.span<float>())
    value = stream.uniform() < static_cast<float>(density) ? static_cast<float>(value / density) : 0.0f;
}

// Sum of w_i x_i.
Tensor weighted_sum(const std::vector<Tensor>& parts, const std::vector<double>& weights) {
  Tensor out = Tensor::zeros(parts[0].shape(), DType::kF32);
  for (size_t i = 0; i < parts.size(); ++i) cpu_backend().axpy(static_cast<float>(weights[i]), parts[i], out);
  return out;
}

// Mean of the weighted values whose sign is that of the majority.
Tensor disjoint_mean(const std::vector<Tensor>& parts, const std::vector<double>& weights,
                     bool by_frequency) {
  Tensor out = Tensor::zeros(parts[0].shape(), DType::kF32);
  auto sign = [](float x) { return x > 0 ? 1 : x < 0 ? -1 : 0; };
  for (int64_t e = 0; e < out.numel(); ++e) {
    float sum = 0;
    for (const Tensor& part : parts) {
      float value = part.data<float>()[e];
      sum += by_frequency ? static_cast<float>(sign(value)) : value;
    }
    const int majority = sum >= 0 ? 1 : -1;
    float total = 0;
    int agreeing = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      float value = parts[i].data<float>()[e];
      if (sign(value) != majority) continue;
      total += value * static_cast<float>(weights[i]);
      ++agreeing;
    }
    out.data<float>()[e] = total / static_cast<float>(std::max(agreeing, 1));
  }
  return out;
}

Tensor arithmetic(const std::string& method, std::vector<Tensor> parts, const std::vector<double>& weights,
                  const CombineOptions& options, const std::string& site) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (method.starts_with("dare"))
      drop_at_random(parts[i], options.density, options.seed, fmt::format("{}.{}", site, i));
    if (method.starts_with("ties") || method.starts_with("magnitude"))
      keep_largest(parts[i], options.density);
  }
  return method.find("ties") != method.npos ? disjoint_mean(parts, weights, options.by_frequency)
                                            : weighted_sum(parts, weights);
}

void concatenate(const std::vector<Term>& terms, Tensor& a, Tensor& b) {
  int64_t rank = 0, in = terms[0].pair->a.dim(1), out = terms[0].pair->b.dim(0);
  for (const Term& term : terms) rank += term.pair->rank();
  a = Tensor::empty({rank, in}, DType::kF32);
  b = Tensor::empty({out, rank}, DType::kF32);
  int64_t at = 0;
  for (const Term& term : terms) {
    const int64_t r = term.pair->rank();
    for (int64_t i = 0; i < r * in; ++i)
      a.data<float>()[at * in + i] = static_cast<float>(term.pair->a.data<float>()[i] * term.weight);
    for (int64_t o = 0; o < out; ++o)
      std::copy_n(term.pair->b.data<float>() + o * r, r, b.data<float>() + o * rank + at);
    at += r;
  }
}

// PEFT's split: singular values go to b.
void set_factors(const Triplets& t, LoraPair& pair) {
  const int64_t r = t.s.numel(), out = t.u.dim(0), in = t.v.dim(0);
  pair.a = Tensor::empty({r, in}, DType::kF32);
  pair.b = t.u.clone(MemoryKind::kActivations);
  for (int64_t k = 0; k < r; ++k) {
    for (int64_t i = 0; i < in; ++i) pair.a.data<float>()[k * in + i] = t.v.data<float>()[i * r + k];
    for (int64_t o = 0; o < out; ++o) pair.b.data<float>()[o * r + k] *= t.s.data<float>()[k];
  }
}

void combine_differences(const std::string& method, const std::vector<Term>& terms,
                         const CombineOptions& options, int64_t rank, LoraPair& pair) {
  if (method == "svd") {
    Tensor a, b;
    concatenate(terms, a, b);
    if (a.dim(0) <= std::min(a.dim(1), b.dim(0))) return set_factors(product_triplets(b, a, rank), pair);
  }
  std::vector<Tensor> differences;
  std::vector<double> weights;
  for (const Term& term : terms) {
    Tensor difference = Tensor::zeros({term.pair->b.dim(0), term.pair->a.dim(1)}, DType::kF32);
    cpu_backend().matmul({.a = &term.pair->b,
                          .b = &term.pair->a,
                          .out = &difference,
                          .alpha = static_cast<float>(term.pair->scale)});
    differences.push_back(difference);
    weights.push_back(term.weight / term.pair->scale);
  }
  Tensor sum = arithmetic(method == "svd" ? "linear" : method, differences, weights, options, pair.module);
  set_factors(best_triplets(sum, std::min({rank, sum.dim(0), sum.dim(1)}), pair.module), pair);
}

void combine_factors(const std::string& method, const std::vector<Term>& terms, const CombineOptions& options,
                     LoraPair& pair) {
  std::vector<Tensor> as, bs;
  std::vector<double> a_weights, b_weights;
  for (const Term& term : terms) {
    if (term.pair->rank() != terms[0].pair->rank())
      fail_usage("{}: {} needs equal ranks, found {} and {}; take cat or svd", pair.module, method,
                 terms[0].pair->rank(), term.pair->rank());
    const double root = std::sqrt(std::abs(term.weight));
    a_weights.push_back(term.weight < 0 ? -root : root);
    b_weights.push_back(root);
    as.push_back(term.pair->a.clone(MemoryKind::kActivations));
    bs.push_back(term.pair->b.clone(MemoryKind::kActivations));
  }
  pair.a = arithmetic(method, as, a_weights, options, pair.module + ".a");
  pair.b = arithmetic(method, bs, b_weights, options, pair.module + ".b");
}

}  // namespace

const std::vector<std::string>& combine_methods() {
  static const std::vector<std::string> kMethods = {"svd",
                                                    "linear",
                                                    "cat",
                                                    "ties",
                                                    "ties_svd",
                                                    "dare_linear",
                                                    "dare_ties",
                                                    "dare_linear_svd",
                                                    "dare_ties_svd",
                                                    "magnitude_prune",
                                                    "magnitude_prune_svd"};
  return kMethods;
}

LoraFolder combine_adapters(const std::vector<LoraFolder>& adapters, const CombineOptions& options) {
  const std::vector<std::string>& known = combine_methods();
  if (std::find(known.begin(), known.end(), options.method) == known.end())
    fail_usage("\"{}\" is no way of combining adapters; known: {}", printable(options.method),
               fmt::join(known, ", "));
  if (adapters.empty() || options.weights.size() != adapters.size())
    fail_usage("{} weights for {} adapters", options.weights.size(), adapters.size());
  if (!(options.density >= 0 && options.density <= 1))
    fail_usage("density is {}, expected 0 to 1", options.density);
  std::map<std::string, std::vector<Term>> modules;
  int64_t most = 1;
  for (size_t i = 0; i < adapters.size(); ++i)
    for (const LoraPair& pair : adapters[i].pairs) {
      std::vector<Term>& terms = modules[pair.module];
      terms.push_back({&pair, options.weights[i] * pair.scale});
      if (terms[0].pair->a.dim(1) != pair.a.dim(1) || terms[0].pair->b.dim(0) != pair.b.dim(0))
        fail_usage("{}: the adapters are of different base models: [{}, {}] and [{}, {}]", pair.module,
                   terms[0].pair->b.dim(0), terms[0].pair->a.dim(1), pair.b.dim(0), pair.a.dim(1));
      most = std::max(most, pair.rank());
    }
  LoraFolder out{.base_model_name_or_path = adapters[0].base_model_name_or_path, .pairs = {}};
  const int64_t rank = options.svd_rank > 0 ? options.svd_rank : most;
  for (const auto& [module, terms] : modules) {
    LoraPair pair{.module = module, .embedding = terms[0].pair->embedding, .scale = 1, .a = {}, .b = {}};
    if (options.method == "cat")
      concatenate(terms, pair.a, pair.b);
    else if (options.method.ends_with("svd"))
      combine_differences(options.method, terms, options, rank, pair);
    else
      combine_factors(options.method, terms, options, pair);
    out.pairs.push_back(std::move(pair));
  }
  return out;
}

}  // namespace fettle
