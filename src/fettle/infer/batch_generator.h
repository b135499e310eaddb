// Many prompts at once: rows are decoded together, each with its own cache, options and adapters.
#pragma once
#include <functional>
#include <vector>

#include "fettle/infer/generator.h"

namespace fettle {

struct BatchRequest {
  std::vector<int32_t> prompt;
  GenerationOptions options;
  /// AdapterSet::route's owners; used only when some request of the batch has `routed` set.
  std::vector<const void*> adapters;
  bool routed = false;
};

/// Answers in the order of the requests. At most `rows` are decoded together; when one ends, the next begins.
/// With up to 4 rows each answer equals, to the bit, what Generator gives for it alone. `finished` is called
/// as answers come, in any order.
std::vector<Generation> generate_batch(CausalLM& model, Backend& backend, DType compute,
                                       const std::vector<BatchRequest>& requests, int64_t rows,
                                       const std::function<void(size_t, const Generation&)>& finished = {});

}  // namespace fettle
