#include "fettle/kernels/cpu/method_kernels.h"

#include "fettle/kernels/cpu/row_loops.h"

namespace fettle::cpu {
namespace {

const float* in_order(const float* row, std::span<const int32_t> order, float* out) {
  for (size_t i = 0; i < order.size(); ++i) out[i] = row[order[i]];
  return out;
}

// The elements of a row that starts at `row` that lie in `columns`.
const float* elements_f32(const Tensor& t, int64_t row, std::span<const int32_t> columns, float* out) {
  for (size_t i = 0; i < columns.size(); ++i) read_f32(at(t, row + columns[i]), t.dtype(), out + i, 1);
  return out;
}

}  // namespace

void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) {
  int64_t width = x.cols();
  std::vector<float> buffer(static_cast<size_t>(width)), bias_buffer(static_cast<size_t>(width));
  const float* s = row_f32(scale, 0, width, buffer.data());
  const float* b = bias.defined() ? row_f32(bias, 0, width, bias_buffer.data()) : nullptr;
  for_row_runs(x.rows(), width, std::array{in(x), cpu::out(out)},
               [&](const Run<2>& run, int64_t) { run.kernels().scale_columns(run[0], s, b, run[1], width); });
}

void transpose_last(const Tensor& x, Tensor& out) {
  int64_t m = x.dim(1), n = x.dim(2), area = m * n;
  for_rows(x.dim(0), area, [&](int64_t t) {
    auto turn = [&]<typename T>(const T* source, T* target) {
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) target[j * m + i] = source[i * n + j];
    };
    const std::byte* source = at(x, t * area);
    std::byte* target = at(out, t * area);
    if (dtype_size(x.dtype()) == 4)
      turn(reinterpret_cast<const uint32_t*>(source), reinterpret_cast<uint32_t*>(target));
    else
      turn(reinterpret_cast<const uint16_t*>(source), reinterpret_cast<uint16_t*>(target));
  });
}

void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                   Tensor& out) {
  int64_t width = x.cols(), size = blocks.dim(1), count = width / size;
  const float* r = blocks.data<float>();
  const bool shared = blocks.dim(0) == 1;
  // Rows of R for the inner axpy; its transpose is made once.
  std::vector<float> turned;
  if (transpose) {
    turned.resize(static_cast<size_t>(blocks.numel()));
    for (int64_t n = 0; n < blocks.dim(0); ++n)
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < size; ++j)
          turned[static_cast<size_t>((n * size + j) * size + i)] = r[(n * size + i) * size + j];
    r = turned.data();
  }
  for_rows(x.rows(), width * size, [&](int64_t row) {
    const float* source = row_f32(x, row * width, width, scratch_f32(0, width));
    if (!order.empty()) source = in_order(source, order, scratch_f32(2, width));
    float* sum = scratch_f32(1, width);
    std::memset(sum, 0, static_cast<size_t>(width) * 4);
    for (int64_t n = 0; n < count; ++n) {
      const float* matrix = r + (shared ? 0 : n * size * size);
      for (int64_t i = 0; i < size; ++i)
        vector_kernels().axpy(source[n * size + i], matrix + i * size, sum + n * size, size);
    }
    if (!order.empty()) {
      float* placed = scratch_f32(2, width);
      for (size_t i = 0; i < order.size(); ++i) placed[order[i]] = sum[i];
      sum = placed;
    }
    write_f32(sum, at(out, row * width), out.dtype(), width);
  });
}

void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order, Tensor& dblocks) {
  int64_t width = x.cols(), size = dblocks.dim(1), count = width / size, area = size * size;
  const bool shared = dblocks.dim(0) == 1;
  std::vector<float> sums(static_cast<size_t>(count * area));
  parallel_for(count, [&](int64_t n) {
    float* sum = sums.data() + n * area;
    for (int64_t t = 0; t < x.rows(); ++t) {
      const float *a, *b;
      if (order.empty()) {
        a = row_f32(x, t * width + n * size, size, scratch_f32(0, size));
        b = row_f32(dy, t * width + n * size, size, scratch_f32(1, size));
      } else {
        auto columns = order.subspan(static_cast<size_t>(n * size), static_cast<size_t>(size));
        a = elements_f32(x, t * width, columns, scratch_f32(0, size));
        b = elements_f32(dy, t * width, columns, scratch_f32(1, size));
      }
      for (int64_t i = 0; i < size; ++i) vector_kernels().axpy(a[i], b, sum + i * size, size);
    }
  });
  for (int64_t n = 0; n < count; ++n) {
    float* target = dblocks.data<float>() + (shared ? 0 : n * area);
    vector_kernels().add(target, sums.data() + n * area, target, area);
  }
}

}  // namespace fettle::cpu
