// How a new LoRA begins: PEFT's init_lora_weights.
#pragma once
#include <string>

#include "fettle/peft/lora.h"

namespace fettle {

struct LoraInit {
  bool changes_base = false;  ///< s B A has to be taken out of the base weight
  /// What takes the place of the base weight; may be null.
  std::shared_ptr<const QuantizedMatrix> quantized_base;
};

/// How LoftQ quantises: PEFT's loftq_config, and what goes with quantization_bit.
struct LoftQ {
  int bits = 4;  ///< 4 or 8
  int64_t rounds = 1;
  QuantKind kind = QuantKind::kNF4;
  int64_t blocksize = 64;
  bool double_quantization = false;
};

/// Fills A and B of `method` on `linear`:
///   true         A from kaiming_uniform(sqrt 5), B zero
///   false        both from torch's default of nn.Linear (B A is not zero)
///   gaussian     A from N(0, 1/r), B zero
///   orthogonal   rows of a random rotation, B A zero (r even)
///   pissa, pissa_niter_N   the r largest singular triplets of W, exact or by N rounds of subspace iteration
///   (Meng
///                et al., arXiv 2404.02948)
///   olora        Q and R of W (Büyükakyüz, arXiv 2406.01775)
/// Error(kUsage) for a name that is unknown or needs data.
LoraInit initialise_lora(const std::string& init, const Linear& linear, LoraMethod& method, uint64_t seed);

/// loftq (Li et al., arXiv 2310.08659; peft/utils/loftq_utils.py): in turn Q = quantise(W - B A), and B A the
/// best factors of W - Q. As in PEFT the scale of the adapter is not taken out of B A. Error(kUsage) for a
/// base that is quantised already and for Conv1D.
LoraInit initialise_loftq(const LoftQ& settings, const Linear& linear, LoraMethod& method);

}  // namespace fettle
