// Quantised weights in model folders, as bitsandbytes and Transformers store them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/formats/weight_source.h"
#include "fettle/kernels/quantized.h"

namespace fettle {

/// Whether the weight `name` ("….q_proj.weight") is stored with 4 or 8 bits in this folder.
bool is_stored_quantized(const WeightSource& source, const std::string& name);
/// Tensors that belong to a quantised weight and are no weights themselves (absmax, quant_map, quant_state,
/// SCB …).
bool is_quantization_part(const std::string& name);
/// Reads it, checked against `rows` and `cols`. Error(kBadInput) naming the file's tensor and what is wrong.
std::shared_ptr<const QuantizedMatrix> read_quantized(const WeightSource& source, const std::string& name,
                                                      int64_t rows, int64_t cols);

/// The tensors that bitsandbytes stores for the weight `name`.
std::vector<std::pair<std::string, Tensor>> stored_parts(const std::string& name,
                                                         const QuantizedMatrix& matrix);
/// quantization_config of config.json, with which Transformers loads the folder.
Json quantization_config(const QuantizedMatrix& like, const std::vector<std::string>& skipped_modules);

}  // namespace fettle
