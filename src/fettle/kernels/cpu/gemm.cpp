#include "fettle/kernels/cpu/gemm.h"

#include <omp.h>

#include <bit>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/kernels/cpu/bf16_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"
#include "fettle/tensor/memory.h"

namespace fettle::cpu {
namespace {

using dnnl::memory;

struct Key {
  int64_t m, n, k, lda, ldb, ldc;
  float alpha;
  uint32_t flags;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 1469598103934665603ull;
    for (int64_t part :
         {key.m, key.n, key.k, key.lda, key.ldb, key.ldc,
          static_cast<int64_t>(std::bit_cast<uint32_t>(key.alpha)), static_cast<int64_t>(key.flags)})
      hash = (hash ^ static_cast<uint64_t>(part)) * 1099511628211ull;
    return hash;
  }
};

struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, c, scratch;
};

const dnnl::engine& engine() {
  static const dnnl::engine cpu = [] {
    instruction_set();                     // sets oneDNN's limit before its first use
    dnnl_set_primitive_cache_capacity(0);  // the cache below is enough; two would hold everything twice
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

// oneDNN takes its thread count from OpenMP, when a primitive is made and again when it runs; here both see
// one thread.
class OneThread {
 public:
  OneThread() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_;
};

std::shared_ptr<const Product> make_product(const Gemm& g) {
  auto strides = [](bool transposed, int64_t ld) {
    return transposed ? memory::dims{1, ld} : memory::dims{ld, 1};
  };
  auto product = std::make_shared<Product>();
  product->a = memory::desc({g.m, g.k}, memory::data_type::f32, strides(g.transpose_a, g.lda));
  product->b = memory::desc({g.k, g.n}, memory::data_type::f32, strides(g.transpose_b, g.ldb));
  product->c = memory::desc({g.m, g.n}, memory::data_type::f32, memory::dims{g.ldc, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (g.alpha != 1.0f) attributes.set_output_scales(0, {g.alpha});
  if (g.beta != 0.0f) {
    dnnl::post_ops ops;
    ops.append_sum(g.beta);
    attributes.set_post_ops(ops);
  }
  dnnl::matmul::primitive_desc description(dnnl::matmul::desc(product->a, product->b, product->c), attributes,
                                           engine());
  product->primitive = dnnl::matmul(description);
  product->scratch = description.scratchpad_desc();
  return product;
}

std::shared_ptr<const Product> find_product(const Gemm& g) {
  static std::shared_mutex mutex;
  static std::unordered_map<Key, std::shared_ptr<const Product>, KeyHash> cache;
  // Shapes follow the lengths of sequences, so the set is open; a full cache starts over rather than growing
  // for ever.
  constexpr size_t kMaxProducts = 2048;
  Key key{
      g.m,   g.n,   g.k,     g.lda,
      g.ldb, g.ldc, g.alpha, (g.transpose_a ? 1u : 0u) | (g.transpose_b ? 2u : 0u) | (g.beta != 0 ? 4u : 0u)};
  {
    std::shared_lock lock(mutex);
    if (auto found = cache.find(key); found != cache.end()) return found->second;
  }
  std::shared_ptr<const Product> product = make_product(g);
  std::unique_lock lock(mutex);
  if (cache.size() >= kMaxProducts) cache.clear();
  return cache.emplace(key, product).first->second;
}

void* scratch_memory(size_t bytes) {
  thread_local std::shared_ptr<void> block;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    block.reset();
    block = HostMemory::instance().allocate(bytes, MemoryKind::kWorkspace);
    capacity = bytes;
  }
  return block.get();
}

// oneDNN 2.6 uses the small blocks it asks for without a look at whether it got them. A block of this size
// that was free a moment ago is what they come from.
void check_small_memory() {
  void* block = std::malloc(4096);
  if (!block) throw std::bad_alloc();
  // The compiler may leave out a pair of malloc and free.
  asm volatile("" : : "r"(block) : "memory");
  std::free(block);
}

}  // namespace

void gemm(const Gemm& g) {
  FETTLE_CHECK(g.beta == 0.0f || g.beta == 1.0f, "beta {}", g.beta);
  if (g.m == 0 || g.n == 0) return;
  if (g.in == DType::kBF16) return bf16_gemm(g);
  check_small_memory();
  OneThread single;
  std::shared_ptr<const Product> product = find_product(g);
  thread_local dnnl::stream stream(engine());
  memory a(product->a, engine(), const_cast<void*>(g.a)), b(product->b, engine(), const_cast<void*>(g.b)),
      c(product->c, engine(), g.c);
  memory scratch(product->scratch, engine(), scratch_memory(product->scratch.get_size()));
  product->primitive.execute(
      stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}, {DNNL_ARG_SCRATCHPAD, scratch}});
}

}  // namespace fettle::cpu
