#include "fettle/models/kv_cache.h"

#include <cstring>

#include "fettle/base/error.h"

namespace fettle {

KVCache::KVCache(int64_t layers, int64_t kv_heads, int64_t head_dim, DType dtype)
    : layers_(static_cast<size_t>(layers)), kv_heads_(kv_heads), head_dim_(head_dim), dtype_(dtype) {}

void KVCache::reserve(int64_t tokens) {
  if (tokens <= capacity_) return;
  capacity_ = std::max<int64_t>({tokens, capacity_ * 2, 256});
  for (Layer& layer : layers_)
    for (Tensor* tensor : {&layer.keys, &layer.values}) {
      Tensor grown = Tensor::empty({capacity_, kv_heads_, head_dim_}, dtype_);
      if (tensor->defined()) std::memcpy(grown.raw(), tensor->raw(), tensor->rows_view(0, length_).nbytes());
      *tensor = grown;
    }
}

void KVCache::append(int64_t layer, const Tensor& keys, const Tensor& values, Tensor& all_keys,
                     Tensor& all_values) {
  int64_t tokens = keys.dim(0);
  // Every layer appends at the same length within a pass, so only the first one may find too little room.
  if (length_ + tokens > capacity_) {
    FETTLE_CHECK(layer == 0, "cache grows at layer {}", layer);
    reserve(length_ + tokens);
  }
  Layer& store = layers_[static_cast<size_t>(layer)];
  store.keys.rows_view(length_, length_ + tokens).assign(keys.raw(), keys.nbytes());
  store.values.rows_view(length_, length_ + tokens).assign(values.raw(), values.nbytes());
  all_keys = store.keys.rows_view(0, length_ + tokens);
  all_values = store.values.rows_view(0, length_ + tokens);
}

void KVCache::truncate(int64_t length) {
  FETTLE_CHECK(0 <= length && length <= length_ - virtual_, "truncate {} of {}", length, length_ - virtual_);
  if (length == 0) virtual_ = 0;
  length_ = virtual_ + length;
}

}  // namespace fettle
