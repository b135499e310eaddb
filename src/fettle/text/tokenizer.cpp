#include "fettle/text/tokenizer.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/text/gguf_vocabulary.h"
#include "fettle/text/pipeline_tokenizer.h"
#include "fettle/text/sentencepiece_model.h"
#include "fettle/text/vocabulary_files.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxFile = uint64_t{512} << 20;

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& folder) {
  if (fs::is_regular_file(folder)) return load_tokenizer_file(folder);
  TokenizerConfig config = read_tokenizer_config(folder);
  auto load = [&](const Json& json, const fs::path& file) {
    return make_pipeline_tokenizer(json, file.string(), config);
  };
  if (fs::path file = folder / "tokenizer.json"; fs::exists(file))
    return load(parse_json(read_file(file, kMaxFile), file.string()), file);
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (fs::path file = folder / name; fs::exists(file)) {
      SentencePieceModel model = read_sentencepiece_model(file);
      complete_for_sentencepiece(config, model);
      return load(tokenizer_json(model, config), file);
    }
  if (fs::path file = folder / "vocab.json"; fs::exists(file) && fs::exists(folder / "merges.txt"))
    return load(bpe_files_json(file, folder / "merges.txt", config), file);
  if (fs::path file = folder / "vocab.txt"; fs::exists(file))
    return load(word_piece_file_json(file, config), file);
  fail_input(
      "{}: no tokenizer found, expected tokenizer.json, tokenizer.model, spiece.model, vocab.json with "
      "merges.txt, or vocab.txt",
      folder.string());
}

std::shared_ptr<const Tokenizer> load_tokenizer_file(const fs::path& file) {
  TokenizerConfig config;
  if (file.extension() == ".gguf") return load_gguf_tokenizer(file);
  if (file.extension() == ".model") {
    SentencePieceModel model = read_sentencepiece_model(file);
    complete_for_sentencepiece(config, model);
    return make_pipeline_tokenizer(tokenizer_json(model, config), file.string(), config);
  }
  if (file.extension() == ".txt")
    return make_pipeline_tokenizer(word_piece_file_json(file, config), file.string(), config);
  return make_pipeline_tokenizer(parse_json(read_file(file, kMaxFile), file.string()), file.string(), config);
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(TokenId id) {
  ids_.push_back(id);
  // Decoding the run since the last complete character twice, with and without the new token, gives exactly
  // the text that it adds, whatever the decoder does at the start of a sequence.
  std::span<const TokenId> run(ids_.data() + prefix_, ids_.size() - prefix_);
  std::string before = tokenizer_->decode(run.first(read_ - prefix_), skip_special_tokens_);
  std::string after = tokenizer_->decode(run, skip_special_tokens_);
  if (after.size() <= before.size() || after.ends_with("\xEF\xBF\xBD")) return "";
  prefix_ = read_;
  read_ = ids_.size();
  return after.substr(before.size());
}

std::string StreamDecoder::finish() {
  std::span<const TokenId> run(ids_.data() + prefix_, ids_.size() - prefix_);
  std::string before = tokenizer_->decode(run.first(read_ - prefix_), skip_special_tokens_);
  std::string after = tokenizer_->decode(run, skip_special_tokens_);
  prefix_ = read_ = ids_.size();
  return after.size() > before.size() ? after.substr(before.size()) : "";
}

}  // namespace fettle
