#include "fettle/kernels/profile.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/tensor/rehearsal.h"

namespace fettle {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename... Tensors>
double bytes_of(const Tensors&... tensors) {
  return (0.0 + ... + (tensors.defined() ? static_cast<double>(tensors.nbytes()) : 0.0));
}

class ProfiledBackend final : public Backend {
 public:
  ProfiledBackend(Backend& inner, Profile& profile) : inner_(inner), profile_(profile) {}

  Device device() const override { return inner_.device(); }
  std::string description() const override { return inner_.description(); }
  bool has_native_bf16() const override { return inner_.has_native_bf16(); }

  void fill(Tensor& out, double value) override {
    timed("fill", 0, bytes_of(out), [&] { inner_.fill(out, value); });
  }
  void convert(const Tensor& source, Tensor& out) override {
    timed("convert", 0, bytes_of(source, out), [&] { inner_.convert(source, out); });
  }
  void add(const Tensor& a, const Tensor& b, Tensor& out) override {
    timed("add", 0, bytes_of(a, b, out), [&] { inner_.add(a, b, out); });
  }
  void axpy(double alpha, const Tensor& x, Tensor& y) override {
    timed("axpy", 0, bytes_of(x, y, y), [&] { inner_.axpy(alpha, x, y); });
  }
  void scale(Tensor& x, double alpha) override {
    timed("scale", 0, bytes_of(x, x), [&] { inner_.scale(x, alpha); });
  }
  void dropout(const Tensor& x, float p, const RandomKey& key, Tensor& out) override {
    timed("dropout", 0, bytes_of(x, out), [&] { inner_.dropout(x, p, key, out); });
  }
  double sum_squares(const Tensor& x) override {
    double result = 0;
    timed("sum_squares", 0, bytes_of(x), [&] { result = inner_.sum_squares(x); });
    return result;
  }
  bool all_finite(const Tensor& x) override {
    bool result = false;
    timed("all_finite", 0, bytes_of(x), [&] { result = inner_.all_finite(x); });
    return result;
  }
  void matmul(const MatmulArgs& args) override {
    const double m = static_cast<double>(args.out->rows()), n = static_cast<double>(args.out->cols());
    const double k = static_cast<double>(args.transpose_a ? args.a->rows() : args.a->cols());
    double b = args.quantized_b ? static_cast<double>(args.quantized_b->nbytes()) : bytes_of(*args.b);
    double flops = 2 * m * n * k;
    for (const LowRankTerm& term : args.terms) {
      b += bytes_of(*term.a, *term.b);
      flops += 2 * m * n * static_cast<double>(term.a->cols());
    }
    timed(args.quantized_b ? "matmul, quantised"
          : m == 1         ? "matmul, one row"
                           : "matmul",
          flops, bytes_of(*args.a, *args.out) + b, [&] { inner_.matmul(args); });
  }
  void add_column_sums(const Tensor& x, Tensor& out) override {
    timed("add_column_sums", 0, bytes_of(x), [&] { inner_.add_column_sums(x, out); });
  }
  void rms_norm(const Tensor& x, const Tensor& weight, float eps, Tensor& y, Tensor& rstd) override {
    timed("rms_norm", 0, bytes_of(x, y), [&] { inner_.rms_norm(x, weight, eps, y, rstd); });
  }
  void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, float eps, Tensor& sum,
                    Tensor& y, Tensor& rstd) override {
    timed("add_rms_norm", 0, bytes_of(x, delta, sum, y),
          [&] { inner_.add_rms_norm(x, delta, weight, eps, sum, y, rstd); });
  }
  void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dweight) override {
    timed("rms_norm_backward", 0, bytes_of(dy, x, residual, dx),
          [&] { inner_.rms_norm_backward(dy, x, weight, rstd, residual, dx, dweight); });
  }
  void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor& y,
                  Tensor& mean, Tensor& rstd) override {
    timed("layer_norm", 0, bytes_of(x, y), [&] { inner_.layer_norm(x, weight, bias, eps, y, mean, rstd); });
  }
  void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, Tensor& dx, Tensor& dweight, Tensor& dbias) override {
    timed("layer_norm_backward", 0, bytes_of(dy, x, dx),
          [&] { inner_.layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias); });
  }
  void rotary(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
              bool inverse, Tensor& out) override {
    timed("rotary", 0, bytes_of(x, out), [&] { inner_.rotary(x, positions, cos, sin, inverse, out); });
  }
  void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec, Tensor& out,
                 Tensor& lse) override {
    timed("attention", 4 * scores(q, spec) * static_cast<double>(q.dim(2)), bytes_of(q, k, v, out),
          [&] { inner_.attention(q, k, v, spec, out, lse); });
  }
  void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                          Tensor& dk, Tensor& dv) override {
    timed("attention_backward", 10 * scores(q, spec) * static_cast<double>(q.dim(2)),
          bytes_of(dout, q, k, v, out, dq, dk, dv),
          [&] { inner_.attention_backward(dout, q, k, v, out, lse, spec, dq, dk, dv); });
  }
  void swiglu(const Tensor& gate, const Tensor& up, Tensor& out) override {
    timed("swiglu", 0, bytes_of(gate, up, out), [&] { inner_.swiglu(gate, up, out); });
  }
  void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, Tensor& dgate,
                       Tensor& dup) override {
    timed("swiglu_backward", 0, bytes_of(dout, gate, up, dgate, dup),
          [&] { inner_.swiglu_backward(dout, gate, up, dgate, dup); });
  }
  void multiply(const Tensor& a, const Tensor& b, Tensor& out) override {
    timed("multiply", 0, bytes_of(a, b, out), [&] { inner_.multiply(a, b, out); });
  }
  void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) override {
    timed("scale_columns", 0, bytes_of(x, out), [&] { inner_.scale_columns(x, scale, bias, out); });
  }
  void add_column_products(const Tensor& a, const Tensor& b, Tensor& out) override {
    timed("add_column_products", 0, bytes_of(a, b), [&] { inner_.add_column_products(a, b, out); });
  }
  void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                     Tensor& out) override {
    timed("rotate_blocks", 2.0 * static_cast<double>(x.numel() * blocks.dim(2)), bytes_of(x, out),
          [&] { inner_.rotate_blocks(x, blocks, transpose, order, out); });
  }
  void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order,
                          Tensor& dblocks) override {
    timed("add_block_products", 2.0 * static_cast<double>(x.numel() * dblocks.dim(2)), bytes_of(x, dy),
          [&] { inner_.add_block_products(x, dy, order, dblocks); });
  }
  void transpose_last(const Tensor& x, Tensor& out) override {
    timed("transpose_last", 0, bytes_of(x, out), [&] { inner_.transpose_last(x, out); });
  }
  void activate(Activation kind, const Tensor& x, Tensor& out) override {
    timed("activate", 0, bytes_of(x, out), [&] { inner_.activate(kind, x, out); });
  }
  void activate_backward(Activation kind, const Tensor& dout, const Tensor& x, Tensor& dx) override {
    timed("activate_backward", 0, bytes_of(dout, x, dx),
          [&] { inner_.activate_backward(kind, dout, x, dx); });
  }
  void embedding(std::span<const int32_t> ids, const Tensor& table, Tensor& out) override {
    timed("embedding", 0, 2 * bytes_of(out), [&] { inner_.embedding(ids, table, out); });
  }
  void embedding_backward(std::span<const int32_t> ids, const Tensor& dout, Tensor& dtable) override {
    timed("embedding_backward", 0, 3 * bytes_of(dout), [&] { inner_.embedding_backward(ids, dout, dtable); });
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    timed("gather_rows", 0, 2 * bytes_of(out), [&] { inner_.gather_rows(x, rows, out); });
  }
  void scatter_rows(const Tensor& x, std::span<const int32_t> rows, Tensor& out) override {
    timed("scatter_rows", 0, 2 * bytes_of(x), [&] { inner_.scatter_rows(x, rows, out); });
  }
  void cross_entropy(const Tensor& logits, std::span<const int32_t> labels, float grad_scale, Tensor& losses,
                     Tensor& dlogits, const LossShape& shape, int32_t* best) override {
    timed("cross_entropy", 0, bytes_of(logits, dlogits),
          [&] { inner_.cross_entropy(logits, labels, grad_scale, losses, dlogits, shape, best); });
  }
  void adamw(Tensor& parameter, const Tensor& gradient, Tensor& m, Tensor& v,
             const AdamWArgs& args) override {
    timed("adamw", 0, 2 * bytes_of(parameter, m, v) + bytes_of(gradient),
          [&] { inner_.adamw(parameter, gradient, m, v, args); });
  }

 private:
  // Pairs of query and key that are not masked, over all heads.
  static double scores(const Tensor& q, const AttentionSpec& spec) {
    double pairs = 0;
    for (size_t s = 0; s + 1 < spec.cu_q.size(); ++s) {
      const double queries = spec.cu_q[s + 1] - spec.cu_q[s], keys = spec.cu_k[s + 1] - spec.cu_k[s];
      pairs += queries * keys - (spec.causal ? queries * (queries - 1) / 2 : 0);
    }
    return pairs * static_cast<double>(q.dim(1));
  }
  template <typename Op>
  void timed(const char* name, double flops, double bytes, const Op& op) {
    const double begin = profile_.now();
    op();
    profile_.add({name, begin, profile_.now(), flops, bytes, 0, 0});
  }
  Backend& inner_;
  Profile& profile_;
};

}  // namespace

Profile::Profile() : origin_(seconds()) {}

double Profile::now() const {
  return seconds() - origin_;
}

void Profile::add(ProfileEvent event) {
  events_.push_back(std::move(event));
}

Profile::Phase::Phase(Profile* profile, std::string name) : profile_(profile), name_(std::move(name)) {
  if (profile_) begin_ = profile_->now();
}

Profile::Phase::~Phase() {
  if (profile_) profile_->add({name_, begin_, profile_->now(), 0, 0, 1, held_memory().current});
}

std::vector<ProfileLine> Profile::by_op() const {
  std::map<std::string, ProfileLine> lines;
  for (const ProfileEvent& event : events_) {
    if (event.depth > 0) continue;
    ProfileLine& line = lines[event.name];
    line.name = event.name;
    ++line.calls;
    line.seconds += event.end - event.begin;
    line.flops += event.flops;
    line.bytes += event.bytes;
  }
  std::vector<ProfileLine> sorted;
  for (auto& [name, line] : lines) sorted.push_back(line);
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return sorted;
}

double Profile::phase_seconds(const std::string& name) const {
  double sum = 0;
  for (const ProfileEvent& event : events_)
    if (event.depth > 0 && event.name == name) sum += event.end - event.begin;
  return sum;
}

void Profile::write_trace(const std::filesystem::path& file) const {
  Json events = Json::array();
  for (const ProfileEvent& event : events_) {
    Json json = {{"name", event.name},
                 {"ph", "X"},
                 {"pid", 1},
                 {"tid", 1},
                 {"ts", event.begin * 1e6},
                 {"dur", (event.end - event.begin) * 1e6}};
    if (event.flops > 0) json["args"]["flops"] = event.flops;
    if (event.bytes > 0) json["args"]["bytes"] = event.bytes;
    events.push_back(std::move(json));
  }
  write_file_atomically(file, Json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump() + "\n");
}

std::unique_ptr<Backend> profiled_backend(Backend& backend, Profile& profile) {
  return std::make_unique<ProfiledBackend>(backend, profile);
}

}  // namespace fettle
