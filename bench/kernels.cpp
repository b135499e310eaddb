// Every kernel of kernels/backend.h on the shapes of Qwen2.5-0.5B, timed by Google Benchmark, with its share
// of the roofline: the time that its operations at the register-resident peak, or its bytes at the bandwidth
// of a copy or read loop over as many bytes, would take at least (Williams et al., CACM 52(4), 2009).
// Operations and bytes are those that `fettle train --profile` counts.
//   bench_kernels [--benchmark_filter=REGEX] [--benchmark_min_time=SECONDS] [--benchmark_format=json]
// bench/kernels.py prints it as a table.
#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/backend.h"
#include "fettle/kernels/profile.h"
#include "roofline.h"

namespace fettle {
namespace {

constexpr int64_t kTokens = 2048, kSequence = 512;  // four rows of 512 tokens in one pass
constexpr int64_t kHidden = 896, kInner = 4864, kHeads = 14, kKvHeads = 2, kDim = 64, kVocab = 151936,
                  kRank = 16;
constexpr int64_t kHeadRows = 512;  // rows of logits that exist at once

using Call = std::function<void(Backend&)>;

// Normal numbers, one run of them again and again: no kernel's speed depends on more.
Tensor random(Shape shape, DType dtype = DType::kBF16) {
  constexpr int64_t kRun = 1 << 16;
  static const std::vector<float> run = [] {
    std::vector<float> values(kRun);
    RandomStream stream(RandomKey{.seed = 1, .use = RandomUse::kSynthetic});
    for (float& value : values) value = static_cast<float>(stream.normal());
    return values;
  }();
  Tensor out = Tensor::empty(std::move(shape), dtype);
  const Tensor pattern = Tensor::from(run, {kRun}).to(dtype);
  auto* bytes = static_cast<std::byte*>(out.raw());
  for (size_t done = 0; done < out.nbytes(); done += pattern.nbytes())
    std::memcpy(bytes + done, pattern.raw(), std::min(pattern.nbytes(), out.nbytes() - done));
  return out;
}

Tensor zeros(Shape shape, DType dtype = DType::kF32) {
  return Tensor::zeros(std::move(shape), dtype);
}

std::shared_ptr<std::vector<int32_t>> numbers(int64_t count, int64_t below) {
  auto out = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(count));
  RandomStream stream(RandomKey{.seed = 2, .use = RandomUse::kSynthetic});
  for (int32_t& value : *out) value = static_cast<int32_t>(stream.below(static_cast<uint64_t>(below)));
  return out;
}

std::shared_ptr<std::vector<int32_t>> distinct_rows(int64_t count) {
  auto out = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(count));
  for (size_t i = 0; i < out->size(); ++i) (*out)[i] = static_cast<int32_t>(2 * i);
  return out;
}

// The tensors of a case live while it runs: Google Benchmark calls a case several times, and making a head's
// weights takes longer than using them.
void timed(benchmark::State& state, const std::string& name, const std::function<Call()>& make) {
  static std::string current;
  static Call call;
  static double flops = 0, bytes = 0;
  if (current != name) {
    call = nullptr;
    HostMemory::instance().trim();
    call = make();
    current = name;
    Profile profile;
    call(*profiled_backend(cpu_backend(), profile));
    const ProfileLine line = profile.by_op().at(0);
    flops = line.flops;
    bytes = line.bytes;
  }
  for (auto _ : state) call(cpu_backend());
  const double bandwidth = bench::bandwidth(bytes);
  const bool f32 = name.find("f32") != std::string::npos;
  const double by_memory = bytes / bandwidth,
               by_products = flops / (f32 ? bench::f32_peak() : bench::bf16_peak());
  auto rate = [](double amount) {
    return benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
  };
  if (flops > 0) state.counters["GFLOP/s"] = rate(flops / 1e9);
  state.counters["GB/s"] = rate(bytes / 1e9);
  state.counters["roofline_%"] = rate(100 * std::max(by_memory, by_products));
  state.counters["memory_bound"] = by_memory > by_products ? 1 : 0;
}

void add(const std::string& name, std::function<Call()> make) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [name, make](benchmark::State& state) { timed(state, name, make); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

// op(a) op(b) into `out`, all of `dtype` unless said otherwise.
struct Product {
  Shape a, b, out;
  bool transpose_a = false, transpose_b = true;
  float beta = 0;
  DType dtype = DType::kBF16, out_dtype = DType::kBF16;
};

void add_product(const std::string& name, Product p) {
  add("matmul/" + name, [p]() -> Call {
    Tensor a = random(p.a, p.dtype), b = random(p.b, p.dtype), out = zeros(p.out, p.out_dtype);
    return [=](Backend& backend) mutable {
      backend.matmul({.a = &a,
                      .b = &b,
                      .out = &out,
                      .transpose_a = p.transpose_a,
                      .transpose_b = p.transpose_b,
                      .beta = p.beta,
                      .compute = p.dtype});
    };
  });
}

// A linear and its adapter's B as one product.
void add_adapted_product(const std::string& name) {
  add("matmul/" + name, []() -> Call {
    Tensor x = random({kTokens, kHidden}), weight = random({kInner, kHidden}),
           out = zeros({kTokens, kInner}, DType::kBF16);
    Tensor projection = random({kTokens, kRank}), b = random({kInner, kRank}, DType::kF32);
    return [=](Backend& backend) mutable {
      const LowRankTerm term{&projection, &b, true, 2.0f};
      backend.matmul({.a = &x,
                      .b = &weight,
                      .out = &out,
                      .transpose_b = true,
                      .terms = {&term, 1},
                      .compute = DType::kBF16});
    };
  });
}

void add_quantized_product(const std::string& name, int64_t tokens, bool transpose_b) {
  add("matmul/" + name, [=]() -> Call {
    auto weight = quantize_4bit(random({kInner, kHidden}), QuantKind::kNF4, 64, true);
    Tensor x = random({tokens, transpose_b ? kHidden : kInner}),
           out = random({tokens, transpose_b ? kInner : kHidden});
    return [=](Backend& backend) mutable {
      backend.matmul({.a = &x,
                      .quantized_b = weight.get(),
                      .out = &out,
                      .transpose_b = transpose_b,
                      .compute = DType::kBF16});
    };
  });
}

void add_products() {
  add_product("q_proj", {{kTokens, kHidden}, {kHidden, kHidden}, {kTokens, kHidden}});
  add_product("k_proj", {{kTokens, kHidden}, {kKvHeads * kDim, kHidden}, {kTokens, kKvHeads * kDim}});
  add_product("gate_proj", {{kTokens, kHidden}, {kInner, kHidden}, {kTokens, kInner}});
  add_product("down_proj", {{kTokens, kInner}, {kHidden, kInner}, {kTokens, kHidden}});
  add_product("gate_proj dX", {{kTokens, kInner}, {kInner, kHidden}, {kTokens, kHidden}, false, false});
  add_product("down_proj dX", {{kTokens, kHidden}, {kHidden, kInner}, {kTokens, kInner}, false, false});
  add_product(
      "gate_proj dW",
      {{kTokens, kInner}, {kTokens, kHidden}, {kInner, kHidden}, true, false, 1, DType::kBF16, DType::kF32});
  add_product("LoRA A", {{kTokens, kHidden}, {kRank, kHidden}, {kTokens, kRank}});
  add_adapted_product("gate_proj and LoRA B");
  add_product(
      "LoRA dA",
      {{kTokens, kRank}, {kTokens, kHidden}, {kRank, kHidden}, true, false, 1, DType::kBF16, DType::kF32});
  add_product(
      "LoRA dB",
      {{kTokens, kInner}, {kTokens, kRank}, {kInner, kRank}, true, false, 1, DType::kBF16, DType::kF32});
  add_product("head", {{kHeadRows, kHidden}, {kVocab, kHidden}, {kHeadRows, kVocab}});
  add_product("head dX", {{kHeadRows, kVocab}, {kVocab, kHidden}, {kHeadRows, kHidden}, false, false});
  add_product(
      "gate_proj f32",
      {{kTokens, kHidden}, {kInner, kHidden}, {kTokens, kInner}, false, true, 0, DType::kF32, DType::kF32});
  add_product("gate_proj, one row", {{1, kHidden}, {kInner, kHidden}, {1, kInner}});
  add_product("head, one row", {{1, kHidden}, {kVocab, kHidden}, {1, kVocab}});
  add_quantized_product("gate_proj NF4", kTokens, true);
  add_quantized_product("gate_proj NF4 dX", kTokens, false);
  add_quantized_product("gate_proj NF4, one row", 1, true);
}

// Sequences of `length` tokens in one row of kTokens; scores in bf16 or f32.
struct Attention {
  std::vector<int32_t> cu;
  Tensor q, k, v, out, lse, dout, dq, dk, dv;
  AttentionSpec spec;
  Attention(int64_t queries, int64_t keys, int64_t length, DType dtype)
      : q(random({queries, kHeads, kDim}, dtype)),
        k(random({keys, kKvHeads, kDim}, dtype)),
        v(random({keys, kKvHeads, kDim}, dtype)),
        out(random({queries, kHeads, kDim}, dtype)),
        lse(zeros({kHeads, queries})),
        dout(random({queries, kHeads, kDim}, dtype)),
        dq(random({queries, kHeads, kDim}, dtype)),
        dk(random({keys, kKvHeads, kDim}, dtype)),
        dv(random({keys, kKvHeads, kDim}, dtype)) {
    for (int64_t begin = 0; begin <= queries; begin += length) cu.push_back(static_cast<int32_t>(begin));
    cu_keys = cu;
    if (queries != keys) cu_keys = {0, static_cast<int32_t>(keys)};
    spec = {.cu_q = cu, .cu_k = cu_keys, .scale = 0.125f};
  }
  Attention(const Attention&) = delete;

 private:
  std::vector<int32_t> cu_keys;
};

void add_attention() {
  struct Case {
    const char* name;
    int64_t queries, keys, length;
    DType dtype;
    bool backward;
  };
  for (const Case& c : {Case{"4 x 512", kTokens, kTokens, kSequence, DType::kBF16, true},
                        Case{"1 x 2048", kTokens, kTokens, kTokens, DType::kBF16, true},
                        Case{"4 x 512 f32", kTokens, kTokens, kSequence, DType::kF32, true},
                        Case{"one query, 2048 keys", 1, kTokens, 1, DType::kBF16, false}}) {
    add(fmt::format("attention/{}", c.name), [c]() -> Call {
      auto t = std::make_shared<Attention>(c.queries, c.keys, c.length, c.dtype);
      return [t](Backend& b) { b.attention(t->q, t->k, t->v, t->spec, t->out, t->lse); };
    });
    if (!c.backward) continue;
    add(fmt::format("attention_backward/{}", c.name), [c]() -> Call {
      auto t = std::make_shared<Attention>(c.queries, c.keys, c.length, c.dtype);
      cpu_backend().attention(t->q, t->k, t->v, t->spec, t->out, t->lse);
      return [t](Backend& b) {
        b.attention_backward(t->dout, t->q, t->k, t->v, t->out, t->lse, t->spec, t->dq, t->dk, t->dv);
      };
    });
  }
}

void add_norms() {
  struct Rows {
    Tensor x = random({kTokens, kHidden}), delta = random({kTokens, kHidden}), y = random({kTokens, kHidden}),
           sum = random({kTokens, kHidden}), weight = random({kHidden}), bias = random({kHidden}),
           mean = zeros({kTokens}), rstd = random({kTokens}, DType::kF32), none;
  };
  auto on_rows = [](const std::string& name, void (*run)(Backend&, Rows&)) {
    add(name,
        [run]() -> Call { return [run, rows = std::make_shared<Rows>()](Backend& b) { run(b, *rows); }; });
  };
  on_rows("rms_norm", [](Backend& b, Rows& r) { b.rms_norm(r.x, r.weight, 1e-6f, r.y, r.rstd); });
  on_rows("add_rms_norm",
          [](Backend& b, Rows& r) { b.add_rms_norm(r.x, r.delta, r.weight, 1e-6f, r.sum, r.y, r.rstd); });
  on_rows("rms_norm_backward", [](Backend& b, Rows& r) {
    b.rms_norm_backward(r.delta, r.x, r.weight, r.rstd, r.sum, r.y, r.none);
  });
  on_rows("layer_norm",
          [](Backend& b, Rows& r) { b.layer_norm(r.x, r.weight, r.bias, 1e-6f, r.y, r.mean, r.rstd); });
  on_rows("layer_norm_backward", [](Backend& b, Rows& r) {
    b.layer_norm_backward(r.delta, r.x, r.weight, r.mean, r.rstd, r.y, r.none, r.none);
  });
}

void add_elementwise() {
  struct Rows {
    Tensor a = random({kTokens, kInner}), b = random({kTokens, kInner}), c = random({kTokens, kInner}),
           d = random({kTokens, kInner}), e = random({kTokens, kInner}), column = random({kInner}),
           sums = zeros({kInner}), wide = random({kTokens, kInner}, DType::kF32);
  };
  auto on_rows = [](const std::string& name, void (*run)(Backend&, Rows&)) {
    add(name,
        [run]() -> Call { return [run, rows = std::make_shared<Rows>()](Backend& b) { run(b, *rows); }; });
  };
  on_rows("fill", [](Backend& b, Rows& r) { b.fill(r.a, 0); });
  on_rows("convert", [](Backend& b, Rows& r) { b.convert(r.wide, r.a); });
  on_rows("add", [](Backend& b, Rows& r) { b.add(r.a, r.b, r.c); });
  on_rows("axpy", [](Backend& b, Rows& r) { b.axpy(1e-3, r.a, r.b); });
  on_rows("scale", [](Backend& b, Rows& r) { b.scale(r.a, 1.0); });
  on_rows("dropout", [](Backend& b, Rows& r) {
    b.dropout(r.a, 0.1f, RandomKey{.seed = 3, .use = RandomUse::kDropout}, r.b);
  });
  on_rows("sum_squares", [](Backend& b, Rows& r) { benchmark::DoNotOptimize(b.sum_squares(r.wide)); });
  on_rows("all_finite", [](Backend& b, Rows& r) { benchmark::DoNotOptimize(b.all_finite(r.wide)); });
  on_rows("add_column_sums", [](Backend& b, Rows& r) { b.add_column_sums(r.a, r.sums); });
  on_rows("swiglu", [](Backend& b, Rows& r) { b.swiglu(r.a, r.b, r.c); });
  on_rows("swiglu_backward", [](Backend& b, Rows& r) { b.swiglu_backward(r.a, r.b, r.c, r.d, r.e); });
  on_rows("multiply", [](Backend& b, Rows& r) { b.multiply(r.a, r.b, r.c); });
  on_rows("scale_columns", [](Backend& b, Rows& r) { b.scale_columns(r.a, r.column, r.column, r.b); });
  on_rows("add_column_products", [](Backend& b, Rows& r) { b.add_column_products(r.a, r.b, r.sums); });
  on_rows("activate/gelu", [](Backend& b, Rows& r) { b.activate(Activation::kGelu, r.a, r.b); });
  on_rows("activate_backward/gelu",
          [](Backend& b, Rows& r) { b.activate_backward(Activation::kGelu, r.a, r.b, r.c); });
}

void add_blocks() {
  constexpr int64_t kBlock = 32;  // of OFT
  add("rotate_blocks", []() -> Call {
    Tensor x = random({kTokens, kHidden}), y = random({kTokens, kHidden}),
           blocks = random({kHidden / kBlock, kBlock, kBlock}, DType::kF32);
    return [=](Backend& b) mutable { b.rotate_blocks(x, blocks, false, {}, y); };
  });
  add("add_block_products", []() -> Call {
    Tensor x = random({kTokens, kHidden}), dy = random({kTokens, kHidden}),
           sums = zeros({kHidden / kBlock, kBlock, kBlock});
    return [=](Backend& b) mutable { b.add_block_products(x, dy, {}, sums); };
  });
  add("transpose_last", []() -> Call {
    Tensor x = random({kTokens, 28, kBlock}), y = random({kTokens, kBlock, 28});
    return [=](Backend& b) mutable { b.transpose_last(x, y); };
  });
  add("rotary", []() -> Call {
    Tensor x = random({kTokens, kHeads, kDim}), cos = random({kSequence, kDim / 2}, DType::kF32),
           sin = random({kSequence, kDim / 2}, DType::kF32), y = random({kTokens, kHeads, kDim});
    return [=, positions = numbers(kTokens, kSequence)](Backend& b) mutable {
      b.rotary(x, *positions, cos, sin, false, y);
    };
  });
}

void add_ends() {
  add("embedding", []() -> Call {
    Tensor table = random({kVocab, kHidden}), y = random({kTokens, kHidden});
    return [=, ids = numbers(kTokens, kVocab)](Backend& b) mutable { b.embedding(*ids, table, y); };
  });
  add("embedding_backward", []() -> Call {
    Tensor table = zeros({kVocab, kHidden}), dy = random({kTokens, kHidden});
    return [=, ids = numbers(kTokens, kVocab)](Backend& b) mutable { b.embedding_backward(*ids, dy, table); };
  });
  add("gather_rows", []() -> Call {
    Tensor x = random({kTokens, kHidden}), y = random({kTokens / 2, kHidden});
    return [=, rows = distinct_rows(kTokens / 2)](Backend& b) mutable { b.gather_rows(x, *rows, y); };
  });
  add("scatter_rows", []() -> Call {
    Tensor x = random({kTokens / 2, kHidden}), y = random({kTokens, kHidden});
    return [=, rows = distinct_rows(kTokens / 2)](Backend& b) mutable { b.scatter_rows(x, *rows, y); };
  });
  add("cross_entropy", []() -> Call {
    Tensor logits = random({kHeadRows, kVocab}), dlogits = random({kHeadRows, kVocab}),
           losses = zeros({kHeadRows});
    return [=, labels = numbers(kHeadRows, kVocab)](Backend& b) mutable {
      b.cross_entropy(logits, *labels, 1.0f, losses, dlogits);
    };
  });
  add("adamw", []() -> Call {
    constexpr int64_t kLoraParameters = 8'798'208;  // rank 16 on seven linears
    Tensor p = random({kLoraParameters}, DType::kF32), g = random({kLoraParameters}, DType::kF32),
           m = zeros({kLoraParameters}), v = zeros({kLoraParameters});
    return [=](Backend& b) mutable {
      b.adamw(p, g, m, v,
              {.learning_rate = 1e-4f,
               .beta1 = 0.9f,
               .beta2 = 0.999f,
               .epsilon = 1e-8f,
               .weight_decay = 0.0f,
               .step = 1});
    };
  });
}

}  // namespace
}  // namespace fettle

int main(int argc, char** argv) try {
  using namespace fettle;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  add_products();
  add_attention();
  add_norms();
  add_elementwise();
  add_blocks();
  add_ends();
  benchmark::AddCustomContext("backend", cpu_backend_description());
  benchmark::AddCustomContext("bf16_peak", fmt::format("{:.4g}", bench::bf16_peak()));
  benchmark::AddCustomContext("f32_peak", fmt::format("{:.4g}", bench::f32_peak()));
  benchmark::AddCustomContext("memory_bandwidth", fmt::format("{:.4g}", bench::bandwidth(1e9)));
  benchmark::RunSpecifiedBenchmarks();
} catch (const fettle::Error& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return static_cast<int>(error.code());
}
