// Keys and values of one sequence, for generation.
#pragma once
#include <cstdint>
#include <vector>

#include "fettle/tensor/tensor.h"

namespace fettle {

/// Per layer, keys and values [capacity, kv_heads, head_dim], grown by doubling. length() tokens are valid in
/// every layer once a pass has ended.
class KVCache {
 public:
  KVCache(int64_t layers, int64_t kv_heads, int64_t head_dim, DType dtype);
  /// All that is held, virtual tokens of a prompt included.
  int64_t length() const { return length_; }
  /// Appends rows of a layer and returns views of all its rows so far.
  void append(int64_t layer, const Tensor& keys, const Tensor& values, Tensor& all_keys, Tensor& all_values);
  /// After the last layer of a pass: `tokens` more are valid.
  void advance(int64_t tokens) { length_ += tokens; }
  /// Says that the first `tokens` are virtual ones.
  void set_virtual_tokens(int64_t tokens) { virtual_ = tokens; }
  /// Keeps `length` real tokens, and the virtual ones before them; nothing at all when it is 0.
  void truncate(int64_t length);

 private:
  struct Layer {
    Tensor keys, values;
  };
  std::vector<Layer> layers_;
  int64_t kv_heads_, head_dim_, length_ = 0, virtual_ = 0, capacity_ = 0;
  DType dtype_;
  void reserve(int64_t tokens);
};

}  // namespace fettle
