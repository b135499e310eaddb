// A causal decoder: embeddings, layers of any kind, a last norm, a head; prompts and caches.
#pragma once
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
};

std::unique_ptr<CausalLM> make_decoder(const ModelConfig& config, DecoderParts parts);

}  // namespace fettle
