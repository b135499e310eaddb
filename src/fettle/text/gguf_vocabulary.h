// The vocabularies inside GGUF files.
#pragma once
#include <filesystem>
#include <memory>

#include "fettle/text/tokenizer.h"

namespace fettle {

/// tokenizer.ggml.model gpt2 (byte-level BPE, split as tokenizer.ggml.pre says), llama (SentencePiece BPE),
/// bert (WordPiece) and t5 (Unigram), with special ids, add_bos/add_eos and the chat template.
/// Error(kBadInput) for other models and pre-tokenizers, with the list of known ones.
std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const std::filesystem::path& file);

}  // namespace fettle
