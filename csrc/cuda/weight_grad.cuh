// Weight gradient: one thread sums the products of its share of all tiles for one output channel (or a pair of them)
// and one chunk of taps. The threads of a block that have one channel are the members of a group, whose sums are added
// up in their order; so are then those of all parts that blocks have. The same bits come out every time. Planar: a
// group's members are columns. What is constant here (DW_...) is said when a kernel is compiled.
#pragma once
#include "elements.cuh"
#include "lattice.cuh"

namespace depthwise::cuda {

using Sum = DW_SUM;
using Read = Stored<DW_READ>;        // x
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

using ReadUnit = Unit<Sum, DW_READ, DW_PAIR>;
using GradientUnit = Unit<Sum, DW_WEIGHT, DW_PAIR>;
using Value = ReadUnit::Value;
// Columns that are loaded at a time, and how many of the first ones are none of a tile's.
constexpr int x_vector = DW_READ_VECTOR, x_shift = DW_READ_SHIFT, gy_vector = DW_WRITTEN_VECTOR;

// A thread's place in its block.
struct Seat {
  int member, group;
};

__device__ __forceinline__ Seat seat_of(const WeightGradParameters& p, int thread) {
  const int by = planar ? p.members : p.groups, quotient = thread / by, left = thread - quotient * by;
  return planar ? Seat{left, quotient} : Seat{quotient, left};
}

__device__ __forceinline__ int thread_at(const WeightGradParameters& p, const Seat& seat) {
  return planar ? seat.group * p.members + seat.member : seat.member * p.groups + seat.group;
}

// What one thread is to sum.
struct Task {
  const Read* x;       // of its channel
  const Gradient* gy;  // likewise
  int out, member, part, chunk;
  int tap_plane, first_tap_row, first_tap_col;
  int first, apart;  // its items: neighbouring ones are others', which then read what is near at the same time
};

// False where there is no work for the thread.
__device__ __forceinline__ bool find_task(const WeightGradParameters& p, int thread, unsigned block, Task& task) {
  const Seat seat = seat_of(p, thread);
  if (seat.member >= p.members || seat.group >= p.groups) return false;
  task.member = seat.member;
  unsigned n = planar ? block * p.groups + seat.group : block;
  if (n >= p.blocks) return false;
  task.out = next_digit(n, p.out_blocks);
  if (!planar) task.out = (task.out * p.groups + seat.group) * (DW_PAIR + 1);
  if (task.out >= p.outs) return false;
  task.part = next_digit(n, p.parts_divisor);
  task.chunk = static_cast<int>(n);
  task.tap_plane = task.chunk / (row_chunks * col_chunks);
  task.first_tap_row = task.chunk / col_chunks % row_chunks * tap_rows;
  task.first_tap_col = task.chunk % col_chunks * tap_cols;
  task.first = planar ? task.part : task.part * p.members + seat.member;
  task.apart = planar ? p.parts : p.parts * p.members;
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

__device__ __forceinline__ Tile find_tile(const WeightGradParameters& p, const Task& task, int item) {
  unsigned n = static_cast<unsigned>(item);
  const int tile_col = next_digit(n, p.col_tiles), tile_row = next_digit(n, p.row_tiles), z = next_digit(n, p.depths);
  Tile tile;
  tile.row = Rows::first_output(tile_row);
  tile.col = Cols::first_output(planar ? tile_col * p.members + task.member : tile_col);
  tile.plane = place<DW_BORDER>(z * p.depth.stride + task.tap_plane * p.depth.dilate - p.depth.pad, p.x_size[0]);
  const long long image = static_cast<long long>(n);
  tile.gy = task.gy + image * p.gy_strides.image + z * p.gy_strides.depth;
  tile.x = task.x + image * p.x_strides.image + tile.plane * p.x_strides.depth;
  return tile;
}

// A sum formed product by product: what is beside the image multiplies no gradient. `one` of a pair of channels.
__device__ __forceinline__ Sum single_tap(const WeightGradParameters& p, const Task& task, int slot, int one) {
  const bool bias = slot == tap_rows * tap_cols;
  const int a = task.first_tap_row + slot / tap_cols, b = task.first_tap_col + slot % tap_cols;
  Sum sum = 0;
#pragma unroll 1
  for (int item = task.first; item < p.items; item += task.apart) {
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
        const Sum g = widened<Sum, DW_WEIGHT>(tile.gy[row * p.gy_strides.row + col * gy_col + one]);
        sum += bias ? g : g * widened<Sum, DW_READ>(tile.x[i * p.x_strides.row + j * x_col + one]);
      }
    }
  }
  return sum;
}

__device__ __forceinline__ void add_tile(Value (&sum)[slots], const WeightGradParameters& p, const Task& task,
                                         const Tile& tile) {
  Value g[Rows::outputs][Cols::outputs];
  const Gradient* gy = tile.gy + tile.row * p.gy_strides.row + tile.col * gy_col;
#pragma unroll
  for (int o = 0; o < Rows::outputs; ++o, gy += Rows::step * p.gy_strides.row) {
    const bool row_inside = tile.row + o * Rows::step < p.gy_size[1];
    load_line<Outputs<Cols>, GradientUnit, Vector<Sum, DW_WEIGHT, gy_vector>, gy_vector, 0, gy_col>(
        g[o], gy, [&](int c) { return row_inside && tile.col + c < p.gy_size[2]; });
#if DW_HAS_BIAS
#pragma unroll
    for (int c = 0; c < Cols::outputs; ++c) add_product(sum[tap_rows * tap_cols], g[o][c], Value(Sum(1)));
#endif
  }
  if (tile.plane < 0) return;

  const int row = p.rows.read_first + Rows::first_line(tile.row, task.first_tap_row);
  const int col = p.cols.read_first + Cols::first_line(tile.col, task.first_tap_col);
  int at[Cols::lines];
  if (DW_BORDER != constant) {
#pragma unroll
    for (int m = 0; m < Cols::lines; ++m) at[m] = place<DW_BORDER>(col + Cols::offset(m), p.x_size[2]);
  }
  const Read* line = tile.x + row * p.x_strides.row + col * x_col;
#pragma unroll
  for (int l = 0; l < Rows::lines; ++l, line += p.x_strides.row) {
    if (!Rows::is_met(l)) continue;
    Value value[Cols::lines];
    if (DW_BORDER != constant) {
      const Read* from = tile.x + place<DW_BORDER>(row + l, p.x_size[1]) * p.x_strides.row;
#pragma unroll
      for (int m = 0; m < Cols::lines; ++m)
        value[m] = ReadUnit::widen(loaded<ReadUnit::Raw>(from + at[m] * x_col, true));
    } else {
      const bool row_inside = within(row + l, p.x_size[1]);
      load_line<Cols, ReadUnit, Vector<Sum, DW_READ, x_vector>, x_vector, x_shift, x_col>(
          value, line, [&](int m) { return row_inside && within(col + m, p.x_size[2]); });
    }
#pragma unroll
    for (int a = 0; a < tap_rows; ++a) {
      const int o = Rows::output(l, a);
      if (o < 0) continue;
#pragma unroll
      for (int b = 0; b < tap_cols; ++b)
#pragma unroll
        for (int c = 0; c < Cols::outputs; ++c) add_product(sum[a * tap_cols + b], g[o][c], value[Cols::line(c, b)]);
    }
  }
}

// The sums of one thread, to memory that its block shares: slot by slot, those of all threads.
__device__ __forceinline__ void sum_share(const WeightGradParameters& p, Value* shared, int thread, unsigned block) {
  Task task;
  if (!find_task(p, thread, block, task)) return;
  Value sum[slots];
#pragma unroll
  for (int slot = 0; slot < slots; ++slot) sum[slot] = Sum(0);
#pragma unroll 1
  for (int item = task.first; item < p.items; item += task.apart) add_tile(sum, p, task, find_tile(p, task, item));

  // Zeros beside an image times what is not finite are none of a sum: it is then formed once more.
  Sum doubt = 0;
#pragma unroll
  for (int slot = 0; slot < slots; ++slot) {
    doubt += doubt_of(sum[slot]);
    shared[slot * DW_THREADS + thread] = sum[slot];
  }
  if (doubt == Sum(0)) return;
  find_task(p, thread, block, task);
#pragma unroll 1
  for (int slot = 0; slot < slots; ++slot) {
#if DW_PAIR
    shared[slot * DW_THREADS + thread] = {single_tap(p, task, slot, 0), single_tap(p, task, slot, 1)};
#else
    shared[slot * DW_THREADS + thread] = single_tap(p, task, slot, 0);
#endif
  }
}

__device__ __forceinline__ Sum* partial_sum(const WeightGradParameters& p, int part, int chunk, int slot, int out) {
  return static_cast<Sum*>(p.partial) + ((static_cast<long long>(part) * p.chunks + chunk) * slots + slot) * p.outs +
         out;
}

// The sums of each group, one member after the other.
__device__ __forceinline__ void sum_members(const WeightGradParameters& p, const Value* shared, int thread,
                                            unsigned block) {
  for (int n = thread; n < p.groups * slots; n += DW_THREADS) {
    const int slot = n / p.groups, group = n - slot * p.groups;
    Task task;
    if (!find_task(p, thread_at(p, {0, group}), block, task)) continue;
    Value sum = Sum(0);
    for (int member = 0; member < p.members; ++member)
      add_product(sum, shared[slot * DW_THREADS + thread_at(p, {member, group})], Value(Sum(1)));
    Sum* const to = partial_sum(p, task.part, task.chunk, slot, task.out);
#if DW_PAIR
    to[0] = sum.x;
    to[1] = sum.y;
#else
    *to = sum;
#endif
  }
}

// Parts of one weight, or of a bias, that a row of a block's threads has; columns are neighbouring weights.
constexpr int total_cols = 32, total_rows = DW_THREADS / total_cols;

struct Weight {
  int tap, out, chunk, slot;
};

__device__ __forceinline__ bool find_weight(const WeightGradParameters& p, int thread, unsigned block, Weight& weight) {
  constexpr int taps_of_plane = kernel_rows * kernel_cols;
  unsigned n = block * total_cols + thread % total_cols;
  weight.out = next_digit(n, p.outs_divisor);
  weight.tap = static_cast<int>(n);
  const int taps = p.depth.kernel * taps_of_plane;
  if (weight.tap >= taps + DW_HAS_BIAS) return false;
  const int k = weight.tap / taps_of_plane, a = weight.tap / kernel_cols % kernel_rows, b = weight.tap % kernel_cols;
  const bool bias = weight.tap == taps;
  weight.chunk = bias ? 0 : (k * row_chunks + a / tap_rows) * col_chunks + b / tap_cols;
  weight.slot = bias ? tap_rows * tap_cols : a % tap_rows * tap_cols + b % tap_cols;
  return true;
}

__device__ __forceinline__ void sum_parts(const WeightGradParameters& p, Sum* shared, int thread, unsigned block) {
  Weight weight;
  Sum sum = 0;
  if (find_weight(p, thread, block, weight)) {
#pragma unroll 4
    for (int part = thread / total_cols; part < p.parts; part += total_rows)
      sum += *partial_sum(p, part, weight.chunk, weight.slot, weight.out);
  }
  shared[thread] = sum;
}

__device__ __forceinline__ void write_weight(const WeightGradParameters& p, const Sum* shared, int thread,
                                             unsigned block) {
  Weight weight;
  if (thread >= total_cols || !find_weight(p, thread, block, weight)) return;
  Sum sum = 0;
  for (int row = 0; row < total_rows; ++row) sum += shared[row * total_cols + thread];
  if (weight.tap == p.depth.kernel * kernel_rows * kernel_cols) {
    static_cast<Stored<DW_BIAS>*>(p.gb)[weight.out] = rounded<DW_BIAS>(sum);
    return;
  }
  const int k = weight.tap / (kernel_rows * kernel_cols);
  const int a = weight.tap / kernel_cols % kernel_rows, b = weight.tap % kernel_cols;
  const int channel = static_cast<int>(quotient(static_cast<unsigned>(weight.out), p.multiplier));
  const int filter = weight.out - channel * static_cast<int>(p.multiplier.by);
  static_cast<Written*>(p.gW)[filter * p.gW_strides.image + channel * p.gW_strides.channel + k * p.gW_strides.depth +
                              a * p.gW_strides.row + b * p.gW_strides.col] = rounded<DW_WRITTEN>(sum);
}

}  // namespace depthwise::cuda

extern "C" __global__ void __launch_bounds__(DW_THREADS, DW_BLOCKS)
    weight_grad(const __grid_constant__ depthwise::cuda::WeightGradParameters p) {
  using namespace depthwise::cuda;
  alignas(16) __shared__ unsigned char shared[slots * DW_THREADS * sizeof(Value)];
  Value* const sums = reinterpret_cast<Value*>(shared);
  sum_share(p, sums, threadIdx.x, blockIdx.x);
  __syncthreads();
  sum_members(p, sums, threadIdx.x, blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(DW_THREADS)
    weight_grad_total(const __grid_constant__ depthwise::cuda::WeightGradParameters p) {
  using namespace depthwise::cuda;
  __shared__ Sum shared[DW_THREADS];
  sum_parts(p, shared, threadIdx.x, blockIdx.x);
  __syncthreads();
  write_weight(p, shared, threadIdx.x, blockIdx.x);
}
