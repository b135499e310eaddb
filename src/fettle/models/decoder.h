// A causal decoder: embeddings, layers of any kind, a last norm, a head; prompts and caches.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/models/decoder_block.h"

namespace fettle {

/// What a decoder is put together from.
struct DecoderParts {
  std::string embedding = "model.embed_tokens";
  /// Learned positions [max_position_embeddings, hidden_size]; empty: rotary ones.
  std::string position_embedding = {};
  std::vector<std::unique_ptr<DecoderBlock>> blocks;
  std::unique_ptr<Norm> norm;
  /// A layer without weights for place `index`, otherwise like layer `like`; empty: layers cannot be
  /// replicated.
  std::function<std::unique_ptr<DecoderBlock>(int64_t index, int64_t like)> make_block = {};
};

std::unique_ptr<CausalLM> make_decoder(const ModelConfig& config, DecoderParts parts);

}  // namespace fettle
