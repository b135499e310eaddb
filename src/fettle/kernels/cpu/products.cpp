#include "fettle/kernels/cpu/products.h"

#include "fettle/kernels/cpu/bf16_products.h"
#include "fettle/kernels/cpu/f32_products.h"
#include "fettle/kernels/cpu/few_rows.h"

namespace fettle::cpu {
namespace {

struct Shape3 {
  int64_t m, n, k;
};

Shape3 shape_of(const MatmulArgs& args) {
  const Tensor& a = *args.a;
  const Shape b = args.quantized_b ? Shape{args.quantized_b->rows, args.quantized_b->cols}
                                   : Shape{args.b->rows(), args.b->cols()};
  Shape3 s{args.transpose_a ? a.cols() : a.rows(), args.transpose_b ? b[0] : b[1],
           args.transpose_a ? a.rows() : a.cols()};
  FETTLE_CHECK((args.transpose_b ? b[1] : b[0]) == s.k && args.out->rows() == s.m && args.out->cols() == s.n,
               "matmul of {}{} and {}{} into {}", shape_string(a.shape()), args.transpose_a ? "ᵀ" : "",
               shape_string(b), args.transpose_b ? "ᵀ" : "", shape_string(args.out->shape()));
  for (const LowRankTerm& term : args.terms) {
    const Shape right{term.transpose_b ? term.b->cols() : term.b->rows(),
                      term.transpose_b ? term.b->rows() : term.b->cols()};
    FETTLE_CHECK(term.a->rows() == s.m && term.a->cols() == right[0] && right[1] == s.n,
                 "a term of {} and {}{} beside a product into {}", shape_string(term.a->shape()),
                 shape_string(term.b->shape()), term.transpose_b ? "ᵀ" : "", shape_string(args.out->shape()));
  }
  return s;
}

enum class Way { kFewRows, kBf16, kF32 };

Way way_of(const MatmulArgs& args, const Shape3& s) {
  if (takes_few_rows(args, s.m)) return Way::kFewRows;
  return args.compute == DType::kBF16 && native_bf16() ? Way::kBf16 : Way::kF32;
}

// The terms as products of their own.
template <typename Multiply>
void for_terms(const MatmulArgs& args, Multiply multiply) {
  for (const LowRankTerm& term : args.terms)
    multiply({.a = term.a,
              .b = term.b,
              .out = args.out,
              .transpose_b = term.transpose_b,
              .alpha = term.scale,
              .beta = 1.0f,
              .compute = args.compute});
}

}  // namespace

void rehearse_matmul(const MatmulArgs& args, const ScratchNeed& need) {
  const Shape3 s = shape_of(args);
  if (s.m == 0 || s.n == 0) return;
  const Way way = way_of(args, s);
  if (way == Way::kBf16) return rehearse_bf16_matmul(args, s.m, s.n, s.k, need);
  if (way == Way::kF32) rehearse_f32_matmul(args, s.m, s.n, s.k, need);
  for_terms(args, [&](const MatmulArgs& term) { rehearse_matmul(term, need); });
}

void matmul(const MatmulArgs& args) {
  const Shape3 s = shape_of(args);
  if (s.m == 0 || s.n == 0) return;
  const Way way = way_of(args, s);
  if (way == Way::kBf16) return bf16_matmul(args, s.m, s.n, s.k);
  if (way == Way::kF32)
    f32_matmul(args, s.m, s.n, s.k);
  else
    few_rows(args, s.m, s.n, s.k);
  for_terms(args, matmul);
}

}  // namespace fettle::cpu
