#include "fettle/models/causal_lm.h"

#include "fettle/base/error.h"

namespace fettle {

ModelInput make_input(const std::vector<std::vector<int32_t>>& sequences,
                      const std::vector<KVCache*>& caches) {
  FETTLE_CHECK(caches.empty() || caches.size() == sequences.size(), "{} caches for {} sequences",
               caches.size(), sequences.size());
  auto ids = std::make_shared<std::vector<int32_t>>();
  auto packing = std::make_shared<Packing>();
  packing->cu_seqlens.push_back(0);
  for (size_t s = 0; s < sequences.size(); ++s) {
    int64_t start = caches.empty() ? 0 : caches[s]->length();
    for (size_t i = 0; i < sequences[s].size(); ++i)
      packing->positions.push_back(static_cast<int32_t>(start + static_cast<int64_t>(i)));
    ids->insert(ids->end(), sequences[s].begin(), sequences[s].end());
    packing->cu_seqlens.push_back(static_cast<int32_t>(ids->size()));
  }
  packing->cu_keys = packing->cu_seqlens;
  ModelInput input;
  input.ids = std::move(ids);
  input.packing = std::move(packing);
  input.caches = caches;
  return input;
}

std::vector<std::string> CausalLM::linear_paths() {
  std::vector<std::string> paths;
  for (const Linear* linear : linears()) paths.push_back(linear->path);
  return paths;
}

Linear* CausalLM::find_linear(const std::string& path) {
  for (Linear* linear : linears())
    if (linear->path == path) return linear;
  return nullptr;
}

bool CausalLM::head_trainable() {
  return head().trainable();
}

void CausalLM::replicate_layers(const std::vector<int64_t>&) {
  fail_usage("layer_replication: not known for {}", config_.architecture);
}

ReplicatedLayers::ReplicatedLayers(CausalLM& model, const std::vector<std::pair<int64_t, int64_t>>& ranges,
                                   const std::string& origin)
    : model_(model) {
  constexpr int64_t kMostLayers = 4096;
  const int64_t layers = model.config().num_hidden_layers;
  std::vector<int64_t> sources;
  for (auto [first, end] : ranges) {
    if (first < 0 || end > layers || first >= end ||
        static_cast<int64_t>(sources.size()) + end - first > kMostLayers)
      fail_input("{}: layer_replication [{}, {}]: the model has layers 0 to {}, and {} may be made of them",
                 origin, first, end, layers - 1, kMostLayers);
    for (int64_t i = first; i < end; ++i) sources.push_back(i);
  }
  model.replicate_layers(sources);
}

}  // namespace fettle
