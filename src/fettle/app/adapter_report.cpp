#include "fettle/app/adapter_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/formats/weight_source.h"
#include "fettle/kernels/backend.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/lora_folder.h"

namespace fettle::app {
namespace {

// "self_attn.q_proj.lora_A.weight" of "model.layers.3.self_attn.q_proj.lora_A.weight": what layers have in
// common.
std::string kind_of(const std::string& key) {
  size_t begin = 0, after = 0;
  for (size_t dot = key.find('.'); dot != key.npos; begin = dot + 1, dot = key.find('.', begin)) {
    std::string_view part(key.data() + begin, dot - begin);
    if (!part.empty() && part.find_first_not_of("0123456789") == part.npos) after = dot + 1;
  }
  return key.substr(after);
}

// <B1 A1, B2 A2> of two terms, times their scales, from the small matrices.
double inner_product(const LoraPair& x, const LoraPair& y) {
  Tensor bb = Tensor::zeros({x.rank(), y.rank()}, DType::kF32), aa = bb.clone(MemoryKind::kWorkspace);
  cpu_backend().matmul({.a = &x.b, .b = &y.b, .out = &bb, .transpose_a = true});
  cpu_backend().matmul({.a = &x.a, .b = &y.a, .out = &aa, .transpose_b = true});
  double sum = 0;
  for (int64_t i = 0; i < bb.numel(); ++i)
    sum += static_cast<double>(bb.data<float>()[i]) * aa.data<float>()[i];
  return sum * x.scale * y.scale;
}

double norm(const LoraPair& pair) {
  return std::sqrt(std::max(0.0, inner_product(pair, pair)));
}

struct Kind {
  int64_t count = 0, parameters = 0;
  std::set<std::string> shapes;
  double smallest = INFINITY, largest = 0;  ///< root mean square
  int64_t not_finite = 0;
};

// The settings of a folder, without what only says where it came from.
Json settings(const AdapterConfig& config) {
  Json json = config.sorted();
  for (const char* key :
       {"base_model_name_or_path", "inference_mode", "revision", "auto_mapping", "peft_version"})
    json.erase(key);
  for (auto it = json.begin(); it != json.end();) it = is_off(*it) ? json.erase(it) : std::next(it);
  return json;
}

std::optional<LoraFolder> as_lora(const std::filesystem::path& folder) {
  try {
    return read_lora_folder(folder);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void print_changes(const LoraFolder& lora) {
  std::map<std::string, std::pair<double, double>> ranges;
  bool untrained = true;
  for (const LoraPair& pair : lora.pairs) {
    double size = norm(pair);
    untrained = untrained && size == 0;
    auto [it, fresh] = ranges.try_emplace(kind_of(pair.module), std::pair(size, size));
    it->second = {std::min(it->second.first, size), std::max(it->second.second, size)};
  }
  Table table({"module", "|s B A| from", "to"}, {Align::kLeft, Align::kRight, Align::kRight});
  for (const auto& [kind, range] : ranges)
    table.add_row({kind, fmt::format("{:.4g}", range.first), fmt::format("{:.4g}", range.second)});
  fmt::print("\n{}", table.text());
  if (untrained) fmt::print("B is zero everywhere: the adapter was never trained.\n");
}

}  // namespace

void print_adapter_info(const std::filesystem::path& folder, bool json) {
  AdapterConfig config = AdapterConfig::read(folder);
  std::map<std::string, Tensor> tensors = read_adapter_tensors(folder);
  WeightSource source = WeightSource::open_adapter(folder);
  std::set<std::string> dtypes;
  for (const std::string& name : source.names())
    dtypes.insert(std::string(dtype_name(source.tensor(name).dtype())));
  std::map<std::string, Kind> kinds;
  int64_t parameters = 0, not_finite = 0;
  for (const auto& [key, value] : tensors) {
    Kind& kind = kinds[kind_of(key)];
    ++kind.count;
    kind.parameters += value.numel();
    kind.shapes.insert(shape_string(value.shape()));
    if (!cpu_backend().all_finite(value)) ++kind.not_finite;
    double size = std::sqrt(cpu_backend().sum_squares(value) /
                            static_cast<double>(std::max<int64_t>(1, value.numel())));
    kind.smallest = std::min(kind.smallest, size);
    kind.largest = std::max(kind.largest, size);
    parameters += value.numel();
    not_finite += kind.not_finite > 0;
  }
  if (json) {
    OrderedJson out = {{"peft_type", config.peft_type},
                       {"base_model_name_or_path", config.base_model_name_or_path},
                       {"parameters", parameters},
                       {"dtypes", dtypes},
                       {"settings", OrderedJson(settings(config))}};
    for (const auto& [name, kind] : kinds)
      out["tensors"][name] = {{"count", kind.count},
                              {"parameters", kind.parameters},
                              {"shapes", kind.shapes},
                              {"rms", {kind.smallest, kind.largest}},
                              {"not_finite", kind.not_finite}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  fmt::print(
      "method      {}\nbase        {}\nparameters  {} in {} tensors, {}\n", config.peft_type,
      config.base_model_name_or_path.empty() ? "(not named)" : printable(config.base_model_name_or_path, 200),
      format_count(parameters), tensors.size(), fmt::join(dtypes, ", "));
  const Json own_settings = settings(config);
  for (const auto& [key, value] : own_settings.items())
    if (key != "peft_type" && key != "task_type")
      fmt::print("{:<11} {}\n", key, printable(value.dump(), 200));
  Table table({"tensor", "count", "shape", "parameters", "rms from", "to"},
              {Align::kLeft, Align::kRight, Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  for (const auto& [name, kind] : kinds)
    table.add_row(
        {printable(name, 120), std::to_string(kind.count),
         kind.shapes.size() == 1 ? *kind.shapes.begin() : fmt::format("{} shapes", kind.shapes.size()),
         format_count(kind.parameters), fmt::format("{:.3g}", kind.smallest),
         fmt::format("{:.3g}", kind.largest)});
  fmt::print("\n{}", table.text());
  if (std::optional<LoraFolder> lora = as_lora(folder)) print_changes(*lora);
  if (not_finite > 0) warn("{} kinds of tensors hold values that are not finite", not_finite);
}

bool print_adapter_difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  Json left = settings(AdapterConfig::read(a)), right = settings(AdapterConfig::read(b));
  std::set<std::string> keys;
  for (const auto& [key, value] : left.items()) keys.insert(key);
  for (const auto& [key, value] : right.items()) keys.insert(key);
  bool equal = true;
  Table options({"setting", a.string(), b.string()});
  for (const std::string& key : keys) {
    if (left.contains(key) && right.contains(key) && left[key] == right[key]) continue;
    auto cell = [&](const Json& json) {
      return json.contains(key) ? printable(json[key].dump(), 60) : std::string("-");
    };
    options.add_row({key, cell(left), cell(right)});
    equal = false;
  }
  if (!equal) fmt::print("{}\n", options.text());

  std::map<std::string, Tensor> x = read_adapter_tensors(a), y = read_adapter_tensors(b);
  Table missing({"tensor", "only in"});
  bool all_there = true;
  size_t same = 0, shared = 0;
  std::map<std::string, std::pair<int64_t, double>> far;  // kind: tensors that differ, largest difference
  for (const auto& [key, value] : x) {
    auto other = y.find(key);
    if (other == y.end() || other->second.shape() != value.shape()) {
      missing.add_row({printable(key), other == y.end()
                                           ? a.string()
                                           : fmt::format("(shapes {} and {})", shape_string(value.shape()),
                                                         shape_string(other->second.shape()))});
      all_there = false;
      continue;
    }
    ++shared;
    double most = 0;
    for (int64_t i = 0; i < value.numel(); ++i)
      most = std::max(most,
                      std::abs(static_cast<double>(value.data<float>()[i]) - other->second.data<float>()[i]));
    if (std::memcmp(value.raw(), other->second.raw(), value.nbytes()) == 0) {
      ++same;
      continue;
    }
    auto& entry = far[kind_of(key)];
    entry = {entry.first + 1, std::max(entry.second, most)};
  }
  for (const auto& [key, value] : y)
    if (!x.contains(key)) {
      missing.add_row({printable(key), b.string()});
      all_there = false;
    }
  if (!all_there) fmt::print("{}\n", missing.text());
  fmt::print("{} of {} shared tensors are equal to the bit\n", same, shared);
  Table table({"tensor", "differ", "largest difference"}, {Align::kLeft, Align::kRight, Align::kRight});
  for (const auto& [kind, entry] : far)
    table.add_row({printable(kind, 120), std::to_string(entry.first), fmt::format("{:.3g}", entry.second)});
  if (!far.empty()) fmt::print("\n{}", table.text());

  std::optional<LoraFolder> lora_a = as_lora(a), lora_b = as_lora(b);
  if (lora_a && lora_b) {
    // Different factors can be the same change: what counts is the product.
    double aa = 0, bb = 0, ab = 0;
    for (const LoraPair& pair : lora_a->pairs) {
      aa += inner_product(pair, pair);
      const LoraPair* other = lora_b->find(pair.module);
      if (other && other->a.dim(1) == pair.a.dim(1) && other->b.dim(0) == pair.b.dim(0))
        ab += inner_product(pair, *other);
    }
    for (const LoraPair& pair : lora_b->pairs) bb += inner_product(pair, pair);
    if (aa > 0 && bb > 0)
      fmt::print("\nchange of the weights: cosine {:.4f}, |difference| / |first| {:.3g}\n",
                 ab / std::sqrt(aa * bb), std::sqrt(std::max(0.0, aa + bb - 2 * ab) / aa));
  }
  return equal && all_there && far.empty();
}

}  // namespace fettle::app
