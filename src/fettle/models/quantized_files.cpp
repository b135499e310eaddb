#include "fettle/models/quantized_files.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/models/config.h"

namespace fettle {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__";
constexpr std::string_view kWeight = "weight";

// "….q_proj." of "….q_proj.weight".
std::string stem_of(const std::string& name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name + ".";
}

const char* long_name(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

Tensor checked(const WeightSource& source, const std::string& name, DType dtype, int64_t count) {
  if (!source.has(name)) fail_input("{}: \"{}\" is missing", source.folder().string(), name);
  Tensor t = source.tensor(name);
  if (t.dtype() != dtype || t.numel() != count)
    fail_input("{}: \"{}\" is {} {}, expected {} values of {}", source.folder().string(), name,
               dtype_name(t.dtype()), shape_string(t.shape()), count, dtype_name(dtype));
  return t.clone(MemoryKind::kWeights);
}

void check_table(const WeightSource& source, const std::string& name, std::span<const float> table) {
  Tensor stored = checked(source, name, DType::kF32, static_cast<int64_t>(table.size()));
  for (size_t i = 0; i < table.size(); ++i)
    if (std::abs(stored.data<float>()[i] - table[i]) > 1e-6f)
      fail_input("{}: \"{}\" is another code: value {} is {}, expected {}", source.folder().string(), name, i,
                 stored.data<float>()[i], table[i]);
}

std::shared_ptr<const QuantizedMatrix> read_8bit(const WeightSource& source, const std::string& name,
                                                 int64_t rows, int64_t cols) {
  auto m = std::make_shared<QuantizedMatrix>();
  m->kind = QuantKind::kInt8;
  m->rows = rows;
  m->cols = cols;
  m->dtype = DType::kF32;
  m->packed = checked(source, name, DType::kI8, rows * cols).reshape({rows, cols});
  m->absmax = checked(source, stem_of(name) + "SCB", DType::kF32, rows);
  std::string format = stem_of(name) + "weight_format";
  if (source.has(format)) {
    Tensor value = source.tensor(format);
    if (value.dtype() != DType::kU8 || value.numel() != 1 || value.data<uint8_t>()[0] != 0)
      fail_input("{}: \"{}\" is not 0: only 8-bit weights stored by rows are known", source.folder().string(),
                 format);
  }
  return m;
}

}  // namespace

bool is_stored_quantized(const WeightSource& source, const std::string& name) {
  return source.has(name + ".absmax") || source.has(stem_of(name) + "SCB");
}

bool is_quantization_part(const std::string& name) {
  for (std::string_view end : {".weight.absmax", ".weight.quant_map", ".weight.nested_absmax",
                               ".weight.nested_quant_map", ".SCB", ".weight_format"})
    if (name.ends_with(end)) return true;
  return name.find(kState) != name.npos;
}

std::shared_ptr<const QuantizedMatrix> read_quantized(const WeightSource& source, const std::string& name,
                                                      int64_t rows, int64_t cols) {
  if (source.has(stem_of(name) + "SCB")) return read_8bit(source, name, rows, cols);
  const std::string folder = source.folder().string();
  auto m = std::make_shared<QuantizedMatrix>();
  std::string state_name;
  for (QuantKind kind : {QuantKind::kNF4, QuantKind::kFP4}) {
    std::string candidate = fmt::format("{}{}{}", name, kState, quant_kind_name(kind));
    if (!source.has(candidate)) continue;
    state_name = candidate;
    m->kind = kind;
  }
  if (state_name.empty()) fail_input("{}: \"{}{}nf4\" (or fp4) is missing", folder, name, kState);
  Tensor bytes = source.tensor(state_name);
  if (bytes.dtype() != DType::kU8 || bytes.numel() > 65536)
    fail_input("{}: \"{}\" is not a short JSON text of bytes", folder, state_name);
  std::string origin = folder + ": " + state_name;
  Json state =
      parse_json({reinterpret_cast<const char*>(bytes.raw()), static_cast<size_t>(bytes.numel())}, origin);
  if (!state.is_object()) fail_input("{}: expected a JSON object", origin);
  ConfigFields fields(state, origin);
  m->rows = rows;
  m->cols = cols;
  m->blocksize = fields.integer("blocksize", std::nullopt, 32, 4096);
  if ((m->blocksize & (m->blocksize - 1)) != 0)
    fail_input("{}: blocksize is {}, expected a power of two", origin, m->blocksize);
  std::string dtype = fields.string("dtype", std::nullopt);
  std::optional<DType> parsed = parse_dtype(dtype);
  if (!parsed || !is_floating(*parsed)) fail_input("{}: dtype is \"{}\"", origin, printable(dtype));
  m->dtype = *parsed;
  if (!state.contains("shape") || state["shape"] != Json({rows, cols}))
    fail_input("{}: shape is {}, config.json asks for [{}, {}]", origin,
               state.contains("shape") ? printable(state["shape"].dump(), 60) : "missing", rows, cols);
  // The bytes may be stored under another dtype (bnb_4bit_quant_storage); what counts is how many they are.
  Tensor packed = source.tensor(name);
  int64_t wanted = (m->numel() + 1) / 2;
  if (static_cast<int64_t>(packed.nbytes()) != wanted)
    fail_input("{}: \"{}\" holds {} bytes, [{}, {}] in 4 bits takes {}", folder, name, packed.nbytes(), rows,
               cols, wanted);
  m->packed = Tensor::empty({wanted}, DType::kU8, MemoryKind::kWeights);
  m->packed.assign(packed.raw(), packed.nbytes());
  check_table(source, name + ".quant_map", quant_code(m->kind));
  m->nested = fields.has("nested_blocksize");
  if (!m->nested) {
    m->absmax = checked(source, name + ".absmax", DType::kF32, m->blocks());
    return m;
  }
  if (fields.integer("nested_blocksize", std::nullopt, 1, 1 << 20) != 256)
    fail_input("{}: nested_blocksize is not 256", origin);
  m->nested_offset = static_cast<float>(fields.number("nested_offset", std::nullopt, -1e30, 1e30));
  m->absmax = checked(source, name + ".absmax", DType::kU8, m->blocks());
  m->nested_absmax = checked(source, name + ".nested_absmax", DType::kF32, (m->blocks() + 255) / 256);
  check_table(source, name + ".nested_quant_map", dynamic_map());
  return m;
}

std::vector<std::pair<std::string, Tensor>> stored_parts(const std::string& name, const QuantizedMatrix& m) {
  std::vector<std::pair<std::string, Tensor>> parts;
  auto table = [](std::span<const float> values) {
    return Tensor::from(values, {static_cast<int64_t>(values.size())}, MemoryKind::kWorkspace);
  };
  if (m.kind == QuantKind::kInt8) {
    parts.emplace_back(stem_of(name) + "SCB", m.absmax);
    parts.emplace_back(name, m.packed);
    parts.emplace_back(stem_of(name) + "weight_format",
                       Tensor::zeros({}, DType::kU8, MemoryKind::kWorkspace));
    return parts;
  }
  parts.emplace_back(name, m.packed.reshape({m.packed.numel(), 1}));
  parts.emplace_back(name + ".absmax", m.absmax);
  // Python's json.dumps writes ", " and ": ".
  std::string state =
      fmt::format("{{\"quant_type\": \"{}\", \"blocksize\": {}, \"dtype\": \"{}\", \"shape\": [{}, {}]",
                  quant_kind_name(m.kind), m.blocksize, long_name(m.dtype), m.rows, m.cols);
  if (m.nested) {
    parts.emplace_back(name + ".nested_absmax", m.nested_absmax);
    parts.emplace_back(name + ".nested_quant_map", table(dynamic_map()));
    state += fmt::format(", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": {}",
                         Json(static_cast<double>(m.nested_offset)).dump());
  }
  state += "}";
  parts.emplace_back(name + ".quant_map", table(quant_code(m.kind)));
  std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(state.data()), state.size());
  parts.emplace_back(fmt::format("{}{}{}", name, kState, quant_kind_name(m.kind)),
                     Tensor::from(bytes, {static_cast<int64_t>(bytes.size())}, MemoryKind::kWorkspace));
  return parts;
}

Json quantization_config(const QuantizedMatrix& like, const std::vector<std::string>& skipped_modules) {
  const bool four = like.kind != QuantKind::kInt8;
  return {{"_load_in_4bit", four},
          {"_load_in_8bit", !four},
          {"bnb_4bit_compute_dtype", long_name(like.dtype)},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", four ? std::string(quant_kind_name(like.kind)) : "fp4"},
          {"bnb_4bit_use_double_quant", like.nested},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skipped_modules},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", four},
          {"load_in_8bit", !four},
          {"quant_method", "bitsandbytes"}};
}

}  // namespace fettle
