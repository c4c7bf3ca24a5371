// Weight gradient: one thread sums the products of its part of all tiles for one output channel and one chunk of taps;
// `total` adds the parts up in their order, so that the same bits come out every time. Planar: lanes are columns, whose
// sums a block adds up first. What is constant here (DW_...) is said when a kernel is compiled.
#pragma once
#include "elements.cuh"
#include "lattice.cuh"

namespace depthwise::cuda {

using Sum = DW_SUM;
using Read = Stored<DW_READ>;      // x
using Gradient = Stored<DW_WEIGHT>;  // gy
using Written = Stored<DW_WRITTEN>;  // gW

constexpr bool planar = DW_PLANAR;
constexpr int kernel_rows = DW_KERNEL_ROWS, kernel_cols = DW_KERNEL_COLS;
constexpr int stride_rows = DW_STRIDE_ROWS, stride_cols = DW_STRIDE_COLS;
constexpr int dilate_rows = DW_DILATE_ROWS, dilate_cols = DW_DILATE_COLS;
constexpr long long x_col = DW_READ_COL, gy_col = DW_WRITTEN_COL;  // elements from a column to the next

constexpr int tap_rows = DW_TAP_ROWS, tap_cols = DW_TAP_COLS;  // of a chunk, whose sums are in registers
constexpr int row_chunks = (kernel_rows + tap_rows - 1) / tap_rows;
constexpr int col_chunks = (kernel_cols + tap_cols - 1) / tap_cols;
constexpr int slots = tap_rows * tap_cols + DW_HAS_BIAS;  // sums of a thread
using Rows = Lattice<stride_rows, dilate_rows, DW_ROWS, tap_rows, false>;
#if DW_SPREAD
using Cols = Spread<stride_cols, dilate_cols, DW_COLS, tap_cols, false, DW_SPREAD>;
#else
using Cols = Lattice<stride_cols, dilate_cols, DW_COLS, tap_cols, false>;
#endif

// What one thread is to sum.
struct Task {
  const Read* x;       // of its channel
  const Gradient* gy;  // likewise
  int out, lane, part, chunk;
  int tap_plane, first_tap_row, first_tap_col;
  long long begin, end;  // of its items
};

// False where there is no work for the thread.
__device__ __forceinline__ bool find_task(const WeightGradParameters& p, unsigned thread, unsigned block, Task& task) {
  unsigned n;
  if (planar) {
    const unsigned group = thread / p.lanes;
    task.lane = static_cast<int>(thread - group * p.lanes);
    if (group >= static_cast<unsigned>(p.groups)) return false;
    n = block * p.groups + group;
  } else {
    task.lane = 0;
    n = block * DW_THREADS + thread;
  }
  if (n >= p.threads) return false;
  task.out = next_digit(n, p.outs_divisor);
  task.part = next_digit(n, p.parts_divisor);
  task.chunk = static_cast<int>(n);
  task.tap_plane = task.chunk / (row_chunks * col_chunks);
  task.first_tap_row = task.chunk / col_chunks % row_chunks * tap_rows;
  task.first_tap_col = task.chunk % col_chunks * tap_cols;
  task.begin = p.items * task.part / p.parts;
  task.end = p.items * (task.part + 1) / p.parts;
  const int channel = static_cast<int>(quotient(static_cast<unsigned>(task.out), p.multiplier));
  task.x = static_cast<const Read*>(p.x) + channel * p.x_strides.channel;
  task.gy = static_cast<const Gradient*>(p.gy) + task.out * p.gy_strides.channel;
  return true;
}

// One tile of outputs, and the plane of x that its chunk of taps meets.
struct Tile {
  const Gradient* gy;
  const Read* x;
  int plane;     // of x, or -1
  int row, col;  // the first output
};

__device__ __forceinline__ Tile find_tile(const WeightGradParameters& p, const Task& task, long long item) {
  unsigned n = static_cast<unsigned>(item);
  const int tile_col = next_digit(n, p.col_tiles), tile_row = next_digit(n, p.row_tiles), z = next_digit(n, p.depths);
  Tile tile;
  tile.row = Rows::first_output(tile_row);
  tile.col = Cols::first_output(planar ? tile_col * p.lanes + task.lane : tile_col);
  tile.plane = place<DW_BORDER>(z * p.depth.stride + task.tap_plane * p.depth.dilate - p.depth.pad, p.x_size[0]);
  const long long image = static_cast<long long>(n);
  tile.gy = task.gy + image * p.gy_strides.image + z * p.gy_strides.depth;
  tile.x = task.x + image * p.x_strides.image + tile.plane * p.x_strides.depth;
  return tile;
}

// A sum formed product by product: what is beside the image multiplies no gradient.
__device__ __noinline__ Sum single_tap(const WeightGradParameters& p, unsigned thread, unsigned block, int slot) {
  Task task;
  if (!find_task(p, thread, block, task)) return 0;
  const bool bias = slot == tap_rows * tap_cols;
  const int a = task.first_tap_row + slot / tap_cols, b = task.first_tap_col + slot % tap_cols;
  Sum sum = 0;
#pragma unroll 1
  for (long long item = task.begin; item < task.end; ++item) {
    const Tile tile = find_tile(p, task, item);
    if (tile.plane < 0 && !bias) continue;
#pragma unroll 1
    for (int o = 0; o < Rows::outputs; ++o) {
      const int row = tile.row + o * Rows::step;
      const int i = place<DW_BORDER>(row * stride_rows + a * dilate_rows - p.rows.pad, p.x_size[1]);
      if (row >= p.gy_size[1] || (i < 0 && !bias)) continue;
#pragma unroll 1
      for (int c = 0; c < Cols::outputs; ++c) {
        const int col = tile.col + c * Cols::step;
        const int j = place<DW_BORDER>(col * stride_cols + b * dilate_cols - p.cols.pad, p.x_size[2]);
        if (col >= p.gy_size[2] || (j < 0 && !bias)) continue;
        const Sum g = widened<Sum, DW_WEIGHT>(
            tile.gy[row * p.gy_strides.row + col * gy_col]);
        sum += bias ? g
                    : g * widened<Sum, DW_READ>(tile.x[i * p.x_strides.row + j * x_col]);
      }
    }
  }
  return sum;
}

__device__ __forceinline__ void add_tile(Sum (&sum)[slots], const WeightGradParameters& p, const Task& task,
                                         const Tile& tile) {
  Sum g[Rows::outputs][Cols::outputs];
  const Gradient* gy = tile.gy + tile.row * p.gy_strides.row + tile.col * gy_col;
#pragma unroll
  for (int o = 0; o < Rows::outputs; ++o, gy += Rows::step * p.gy_strides.row)
#pragma unroll
    for (int c = 0; c < Cols::outputs; ++c) {
      g[o][c] = 0;
      if (tile.row + o * Rows::step < p.gy_size[1] && tile.col + c * Cols::step < p.gy_size[2])
        g[o][c] = widened<Sum, DW_WEIGHT>(gy[c * Cols::step * gy_col]);
#if DW_HAS_BIAS
      sum[tap_rows * tap_cols] += g[o][c];
#endif
    }
  if (tile.plane < 0) return;

  const int row = p.rows.read_first + Rows::first_line(tile.row, task.first_tap_row);
  const int col = p.cols.read_first + Cols::first_line(tile.col, task.first_tap_col);
  int at[Cols::lines];
#pragma unroll
  for (int m = 0; m < Cols::lines; ++m) at[m] = place<DW_BORDER>(col + Cols::offset(m), p.x_size[2]);
  const Read* line = tile.x + row * p.x_strides.row + col * x_col;
#pragma unroll
  for (int l = 0; l < Rows::lines; ++l, line += p.x_strides.row) {
    if (!Rows::is_met(l)) continue;
    const int i = place<DW_BORDER>(row + l, p.x_size[1]);
    Sum value[Cols::lines];
#pragma unroll
    for (int m = 0; m < Cols::lines; ++m) {
      if (!Cols::is_met(m)) continue;
      value[m] = 0;
      if (DW_BORDER != constant)
        value[m] = widened<Sum, DW_READ>(tile.x[i * p.x_strides.row + at[m] * x_col]);
      else if (i >= 0 && at[m] >= 0)
        value[m] = widened<Sum, DW_READ>(line[Cols::offset(m) * x_col]);
    }
#pragma unroll
    for (int a = 0; a < tap_rows; ++a) {
      const int o = Rows::output(l, a);
      if (o < 0) continue;
#pragma unroll
      for (int b = 0; b < tap_cols; ++b)
#pragma unroll
        for (int c = 0; c < Cols::outputs; ++c) sum[a * tap_cols + b] += g[o][c] * value[Cols::line(c, b)];
    }
  }
}

__device__ __forceinline__ Sum* partial_sum(const WeightGradParameters& p, int part, int chunk, int slot, int out) {
  return static_cast<Sum*>(p.partial) + ((static_cast<long long>(part) * p.chunks + chunk) * slots + slot) * p.outs + out;
}

// The sums of one thread, to `shared` where a block adds them up, else to memory.
__device__ __forceinline__ void sum_part(const WeightGradParameters& p, Sum* shared, unsigned thread, unsigned block) {
  Task task;
  if (!find_task(p, thread, block, task)) return;
  Sum sum[slots];
#pragma unroll
  for (int slot = 0; slot < slots; ++slot) sum[slot] = 0;
#pragma unroll 1
  for (long long item = task.begin; item < task.end; ++item) add_tile(sum, p, task, find_tile(p, task, item));

  // Zeros beside an image times what is not finite: such sums are formed once more.
  Sum doubt = 0;
#pragma unroll
  for (int slot = 0; slot < slots; ++slot) doubt += sum[slot] * Sum(0);
  Sum* const first = planar ? shared + thread : partial_sum(p, task.part, task.chunk, 0, task.out);
  const long long apart = planar ? DW_THREADS : p.outs;
  if (doubt == Sum(0)) {
#pragma unroll
    for (int slot = 0; slot < slots; ++slot) first[slot * apart] = sum[slot];
  } else {
#pragma unroll 1
    for (int slot = 0; slot < slots; ++slot) first[slot * apart] = single_tap(p, thread, block, slot);
  }
}

// Planar: the sums of a group's lanes, one after the other.
__device__ __forceinline__ void sum_lanes(const WeightGradParameters& p, const Sum* shared, unsigned thread,
                                          unsigned block) {
  for (int n = static_cast<int>(thread); n < p.groups * slots; n += DW_THREADS) {
    const int group = n / slots, slot = n - group * slots;
    Task task;
    if (!find_task(p, group * p.lanes, block, task)) return;
    const Sum* const first = shared + slot * DW_THREADS + group * p.lanes;
    Sum sum = 0;
    for (int lane = 0; lane < p.lanes; ++lane) sum += first[lane];
    *partial_sum(p, task.part, task.chunk, slot, task.out) = sum;
  }
}

// The sum of all parts of one weight, or of a bias.
__device__ __forceinline__ void sum_parts(const WeightGradParameters& p, unsigned thread) {
  const int taps = p.depth.kernel * kernel_rows * kernel_cols;
  const int out = next_digit(thread, p.outs_divisor), tap = static_cast<int>(thread);
  if (tap >= taps + DW_HAS_BIAS) return;
  const bool bias = tap == taps;
  const int b = tap % kernel_cols, a = tap / kernel_cols % kernel_rows, k = tap / (kernel_cols * kernel_rows);
  const int chunk = bias ? 0 : (k * row_chunks + a / tap_rows) * col_chunks + b / tap_cols;
  const int slot = bias ? tap_rows * tap_cols : a % tap_rows * tap_cols + b % tap_cols;
  Sum sum = 0;
  for (int part = 0; part < p.parts; ++part) sum += *partial_sum(p, part, chunk, slot, out);
  if (bias) {
    static_cast<Stored<DW_BIAS>*>(p.gb)[out] = rounded<DW_BIAS>(sum);
    return;
  }
  const int channel = static_cast<int>(quotient(static_cast<unsigned>(out), p.multiplier));
  const int filter = out - channel * static_cast<int>(p.multiplier.by);
  static_cast<Written*>(p.gW)[filter * p.gW_strides.image + channel * p.gW_strides.channel + k * p.gW_strides.depth +
                              a * p.gW_strides.row + b * p.gW_strides.col] = rounded<DW_WRITTEN>(sum);
}

}  // namespace depthwise::cuda

extern "C" __global__ void __launch_bounds__(DW_THREADS)
    weight_grad(const __grid_constant__ depthwise::cuda::WeightGradParameters p) {
  using namespace depthwise::cuda;
#if DW_PLANAR
  __shared__ Sum shared[slots * DW_THREADS];
  sum_part(p, shared, threadIdx.x, blockIdx.x);
  __syncthreads();
  sum_lanes(p, shared, threadIdx.x, blockIdx.x);
#else
  sum_part(p, nullptr, threadIdx.x, blockIdx.x);
#endif
}

extern "C" __global__ void __launch_bounds__(DW_THREADS)
    weight_grad_total(const __grid_constant__ depthwise::cuda::WeightGradParameters p) {
  depthwise::cuda::sum_parts(p, blockIdx.x * DW_THREADS + threadIdx.x);
}
