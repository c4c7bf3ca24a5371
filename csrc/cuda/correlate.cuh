// Forward pass and input gradient: one thread sums a tile of outputs, its taps' weights in registers. What is constant
// here (DW_...) is said when a kernel is compiled: see correlation.cpp.
#pragma once
#include "elements.cuh"
#include "lattice.cuh"

namespace depthwise::cuda {

using Sum = DW_SUM;
using Read = Stored<DW_READ>;
using Weight = Stored<DW_WEIGHT>;
using Written = Stored<DW_WRITTEN>;

constexpr bool gradient = DW_GRADIENT;
constexpr bool planar = DW_PLANAR;
constexpr int kernel_rows = DW_KERNEL_ROWS, kernel_cols = DW_KERNEL_COLS;
constexpr int stride_rows = DW_STRIDE_ROWS, stride_cols = DW_STRIDE_COLS;
constexpr int dilate_rows = DW_DILATE_ROWS, dilate_cols = DW_DILATE_COLS;
// Elements from a column to the next.
constexpr long long read_col = DW_READ_COL, written_col = DW_WRITTEN_COL;

// Index of the input that an output meets through a tap of an axis, or -1.
template <int border, int stride>
__device__ __forceinline__ int input_of(int output, int tap, int dilate, int pad, int size) {
  if (!gradient) return place<border>(output * stride + tap * dilate - pad, size);
  const int n = output + pad - tap * dilate;
  return n >= 0 && n % stride == 0 && n / stride < size ? n / stride : -1;
}

__device__ __forceinline__ int input_plane(const CorrelateParameters& p, int output, int tap) {
  const int stride = p.depth.stride;
  if (!gradient) return place<DW_BORDER>(output * stride + tap * p.depth.dilate - p.depth.pad, p.read_size[0]);
  const int n = output + p.depth.pad - tap * p.depth.dilate;
  return n >= 0 && n % stride == 0 && n / stride < p.read_size[0] ? n / stride : -1;
}

// What an output channel is made of: a channel that is read and a filter, for each of `filters`.
struct Source {
  const Read* read;
  const Weight* W;
};

__device__ __forceinline__ Source source_of(const CorrelateParameters& p, int image, int channel, int filter) {
  int read_channel, W_channel;
  if (gradient) {
    W_channel = channel;
    read_channel = channel * static_cast<int>(p.multiplier.by) + filter;
  } else {
    W_channel = read_channel = static_cast<int>(quotient(static_cast<unsigned>(channel), p.multiplier));
    filter = channel - read_channel * static_cast<int>(p.multiplier.by);
  }
  return {static_cast<const Read*>(p.read) + image * p.read_strides.image + read_channel * p.read_strides.channel,
          static_cast<const Weight*>(p.W) + filter * p.W_strides.image + W_channel * p.W_strides.channel};
}

__device__ __forceinline__ Sum bias_of(const CorrelateParameters& p, int channel) {
  return p.b ? widened<Sum, DW_BIAS>(static_cast<const Stored<DW_BIAS>*>(p.b)[channel * p.b_stride]) : Sum(0);
}

// One output, product by product: what is beside the image multiplies no weight.
__device__ __forceinline__ Sum single_output(const CorrelateParameters& p, int image, int channel, int plane, int row,
                                             int col) {
  Sum sum = bias_of(p, channel);
#pragma unroll 1
  for (int filter = 0; filter < p.filters; ++filter) {
    const Source source = source_of(p, image, channel, filter);
#pragma unroll 1
    for (int k = 0; k < p.depth.kernel; ++k) {
      const int z = input_plane(p, plane, k);
      if (z < 0) continue;
#pragma unroll 1
      for (int a = 0; a < kernel_rows; ++a) {
        const int i = input_of<DW_BORDER, stride_rows>(row, a, dilate_rows, p.rows.pad, p.read_size[1]);
        if (i < 0) continue;
        const Read* line = source.read + z * p.read_strides.depth + i * p.read_strides.row;
        const Weight* w = source.W + k * p.W_strides.depth + a * p.W_strides.row;
#pragma unroll 1
        for (int b = 0; b < kernel_cols; ++b) {
          const int j = input_of<DW_BORDER, stride_cols>(col, b, dilate_cols, p.cols.pad, p.read_size[2]);
          if (j < 0) continue;
          sum += widened<Sum, DW_WEIGHT>(w[b * p.W_strides.col]) * widened<Sum, DW_READ>(line[j * read_col]);
        }
      }
    }
  }
  return sum;
}

struct Position {
  int image, channel, plane, row, col;  // of tiles: their number along each axis
};

// False where there is no work for the thread.
__device__ __forceinline__ bool find_position(const CorrelateParameters& p, unsigned thread, Position& at) {
  if (thread >= p.threads) return false;
  if (planar) {
    const int lane = next_digit(thread, p.digit[0]), row = next_digit(thread, p.digit[1]);
    at.col = next_digit(thread, p.digit[2]) * static_cast<int>(p.digit[0].by) + lane;
    at.row = next_digit(thread, p.digit[3]) * static_cast<int>(p.digit[1].by) + row;
    at.plane = next_digit(thread, p.digit[4]);
    at.channel = next_digit(thread, p.digit[5]);
  } else {
    const int lane = next_digit(thread, p.digit[0]);
    const int col = next_digit(thread, p.digit[1]), row = next_digit(thread, p.digit[2]);
    at.channel = next_digit(thread, p.digit[3]) * static_cast<int>(p.digit[0].by) + lane;
    at.col = next_digit(thread, p.digit[4]) * static_cast<int>(p.digit[1].by) + col;
    at.row = next_digit(thread, p.digit[5]) * static_cast<int>(p.digit[2].by) + row;
    at.plane = next_digit(thread, p.digit[6]);
  }
  at.image = static_cast<int>(thread);
  if (DW_PAIR) at.channel *= 2;
  return at.row < p.row_tiles && at.col < p.col_tiles && at.channel < p.channels;
}

__device__ __forceinline__ Written* written_plane(const CorrelateParameters& p, const Position& at) {
  return static_cast<Written*>(p.written) + at.image * p.written_strides.image +
         at.channel * p.written_strides.channel + at.plane * p.written_strides.depth;
}

#if DW_TILED

constexpr int tap_rows = DW_TAP_ROWS, tap_cols = DW_TAP_COLS;  // of a chunk, whose weights are in registers
using Rows = Lattice<stride_rows, dilate_rows, DW_ROWS, tap_rows, gradient, DW_PHASE_ROWS>;
#if DW_SPREAD
using Cols = Spread<stride_cols, dilate_cols, DW_COLS, tap_cols, gradient, DW_SPREAD>;
#else
using Cols = Lattice<stride_cols, dilate_cols, DW_COLS, tap_cols, gradient, DW_PHASE_COLS>;
#endif

using ReadUnit = Unit<Sum, DW_READ, DW_PAIR>;
using WrittenUnit = Unit<Sum, DW_WRITTEN, DW_PAIR>;
using Value = ReadUnit::Value;
// Columns that are loaded at a time, and how many of the first ones are none of a tile's.
constexpr int read_vector = DW_READ_VECTOR, read_shift = DW_READ_SHIFT, written_vector = DW_WRITTEN_VECTOR;

__device__ __forceinline__ Value weight_of(const CorrelateParameters& p, const Weight* w) {
#if DW_PAIR
  return {widened<Sum, DW_WEIGHT>(w[0]), widened<Sum, DW_WEIGHT>(w[p.W_strides.channel])};
#else
  return widened<Sum, DW_WEIGHT>(*w);
#endif
}

// A chunk of taps of one input plane to all sums of a tile. `row` and `col` are those of line 0; only an image that
// lies around itself has a path for what is inside.
template <bool inside>
__device__ __forceinline__ void add_taps(Value (&sum)[Rows::outputs][Cols::outputs], const CorrelateParameters& p,
                                         const Read* plane, int row, int col, const Value (&w)[tap_rows][tap_cols],
                                         int rows_left, int cols_left) {
  int at[Cols::lines];
  if (DW_BORDER != constant && !inside) {
#pragma unroll
    for (int m = 0; m < Cols::lines; ++m) at[m] = place<DW_BORDER>(col + Cols::offset(m), p.read_size[2]);
  }
  const Read* line = plane + row * p.read_strides.row + col * read_col;
#pragma unroll
  for (int l = 0; l < Rows::lines; ++l, line += p.read_strides.row) {
    if (!Rows::is_met(l)) continue;
    Value value[Cols::lines];
    if (DW_BORDER != constant && !inside) {
      const Read* from = plane + place<DW_BORDER>(row + l, p.read_size[1]) * p.read_strides.row;
#pragma unroll
      for (int m = 0; m < Cols::lines; ++m)
        value[m] = ReadUnit::widen(loaded<ReadUnit::Raw>(from + at[m] * read_col, true));
    } else {
      const bool row_inside = inside || within(row + l, p.read_size[1]);
      load_line<Cols, ReadUnit, Vector<Sum, DW_READ, read_vector>, read_vector, read_shift, read_col>(
          value, line, [&](int m) { return inside || (row_inside && within(col + m, p.read_size[2])); });
    }
#pragma unroll
    for (int a = 0; a < tap_rows; ++a) {
      const int o = Rows::output(l, a);
      if (o < 0 || (kernel_rows % tap_rows && a >= rows_left)) continue;
#pragma unroll
      for (int b = 0; b < tap_cols; ++b) {
        if (kernel_cols % tap_cols && b >= cols_left) continue;
#pragma unroll
        for (int c = 0; c < Cols::outputs; ++c)
          if (Cols::line(c, b) >= 0) add_product(sum[o][c], w[a][b], value[Cols::line(c, b)]);
      }
    }
  }
}

template <bool inside>
__device__ __forceinline__ void add_all(Value (&sum)[Rows::outputs][Cols::outputs], const CorrelateParameters& p,
                                        const Position& at, int row0, int col0) {
#pragma unroll 1
  for (int filter = 0; filter < (DW_SINGLE ? 1 : p.filters); ++filter) {
    const Source source = source_of(p, at.image, at.channel, filter);
#pragma unroll 1
    for (int k = 0; k < (DW_SINGLE ? 1 : p.depth.kernel); ++k) {
      const int z = input_plane(p, at.plane, k);
      if (z < 0) continue;
      const Read* plane = source.read + z * p.read_strides.depth;
      const Weight* W = source.W + k * p.W_strides.depth;
#pragma unroll 1
      for (int a0 = 0; a0 < kernel_rows; a0 += tap_rows) {
#pragma unroll 1
        for (int b0 = 0; b0 < kernel_cols; b0 += tap_cols) {
          Value w[tap_rows][tap_cols];
#pragma unroll
          for (int a = 0; a < tap_rows; ++a)
#pragma unroll
            for (int b = 0; b < tap_cols; ++b) {
              w[a][b] = Sum(0);
              if ((kernel_rows % tap_rows == 0 || a0 + a < kernel_rows) &&
                  (kernel_cols % tap_cols == 0 || b0 + b < kernel_cols))
                w[a][b] = weight_of(p, W + (a0 + a) * p.W_strides.row + (b0 + b) * p.W_strides.col);
            }
          add_taps<inside>(sum, p, plane, p.rows.read_first + Rows::first_line(row0, a0),
                           p.cols.read_first + Cols::first_line(col0, b0), w, kernel_rows - a0, kernel_cols - b0);
        }
      }
    }
  }
}

// Whether lines from the first tap's to the last one's are all inside.
template <class Axis, int kernel>
__device__ __forceinline__ bool lines_inside(const TileAxis& axis, int first, int size) {
  constexpr int last_chunk = (kernel - 1) / Axis::taps * Axis::taps;
  const int one = axis.read_first + Axis::first_line(first, 0);
  const int other = axis.read_first + Axis::first_line(first, last_chunk);
  int low = 0, high = 0;
#pragma unroll
  for (int l = 0; l < Axis::lines; ++l) {
    low = Axis::offset(l) < low ? Axis::offset(l) : low;
    high = Axis::offset(l) > high ? Axis::offset(l) : high;
  }
  return (one < other ? one : other) + low >= 0 && (one < other ? other : one) + high < size;
}

__device__ __forceinline__ void store_line(Written* line, const Value (&sum)[Cols::outputs], int col, int cols) {
#if DW_WRITTEN_VECTOR > 1
#pragma unroll
  for (int first = 0; first < Cols::outputs; first += written_vector) {
    Vector<Sum, DW_WRITTEN, written_vector> raw;
#pragma unroll
    for (int i = 0; i < written_vector; i += 2)
      raw.round_pair(i, activated<DW_ACTIVATION>(sum[first + i]), activated<DW_ACTIVATION>(sum[first + i + 1]));
    if (within(col + first, cols)) *reinterpret_cast<decltype(raw)*>(line + first) = raw;
  }
#else
#pragma unroll
  for (int c = 0; c < Cols::outputs; ++c)
    if (within(col + c * Cols::step, cols))
      *reinterpret_cast<WrittenUnit::Raw*>(line + c * Cols::step * written_col) =
          WrittenUnit::round(activated<DW_ACTIVATION>(sum[c]));
#endif
}

// A tile once more, product by product.
__device__ __forceinline__ void correlate_with_care(const CorrelateParameters& p, unsigned thread) {
  Position at;
  find_position(p, thread, at);
  const int row = Rows::first_output(at.row);
  const int col = Cols::first_output(at.col);
  Written* const plane = written_plane(p, at);
#pragma unroll 1
  for (int r = row; r < row + Rows::outputs * Rows::step; r += Rows::step)
#pragma unroll 1
    for (int c = col; c < col + Cols::outputs * Cols::step; c += Cols::step)
#pragma unroll 1
      for (int one = 0; one <= DW_PAIR; ++one)
        if (within(r, p.written_size[1]) && within(c, p.written_size[2]))
          plane[r * p.written_strides.row + c * written_col + one] = rounded<DW_WRITTEN>(
              activated<DW_ACTIVATION>(single_output(p, at.image, at.channel + one, at.plane, r, c)));
}

__device__ __forceinline__ void correlate_tile(const CorrelateParameters& p, unsigned thread) {
  Position at;
  const bool active = find_position(p, thread, at);
  const int row0 = active ? Rows::first_output(at.row) : 0, col0 = active ? Cols::first_output(at.col) : 0;
  bool all_inside = false;
  if (DW_BORDER != constant) {
    const bool inside = lines_inside<Rows, kernel_rows>(p.rows, row0, p.read_size[1]) &&
                        lines_inside<Cols, kernel_cols>(p.cols, col0, p.read_size[2]);
    // One path for a whole warp, which would take both one after the other.
    all_inside = all_threads(inside || !active);
  }
  if (!active) return;

  Value sum[Rows::outputs][Cols::outputs];
#if DW_PAIR
  const Value bias(bias_of(p, at.channel), bias_of(p, at.channel + 1));
#else
  const Value bias = bias_of(p, at.channel);
#endif
#pragma unroll
  for (int r = 0; r < Rows::outputs; ++r)
#pragma unroll
    for (int c = 0; c < Cols::outputs; ++c) sum[r][c] = bias;

  if (DW_BORDER != constant && all_inside)
    add_all<true>(sum, p, at, row0, col0);
  else
    add_all<false>(sum, p, at, row0, col0);

  // Zeros beside the image times a weight that is not finite are none of a sum.
  Sum doubt = 0;
  if (DW_BORDER == constant) {
#pragma unroll
    for (int r = 0; r < Rows::outputs; ++r)
#pragma unroll
      for (int c = 0; c < Cols::outputs; ++c) doubt += doubt_of(sum[r][c]);
  }
  if (doubt != Sum(0)) return correlate_with_care(p, thread);
  Written* line = written_plane(p, at) + row0 * p.written_strides.row + col0 * written_col;
#pragma unroll
  for (int r = 0; r < Rows::outputs; ++r, line += Rows::step * p.written_strides.row)
    if (within(row0 + r * Rows::step, p.written_size[1])) store_line(line, sum[r], col0, p.written_size[2]);
}

#else

// Steps so large that neighbouring outputs share nothing: one output a thread.
__device__ __forceinline__ void correlate_tile(const CorrelateParameters& p, unsigned thread) {
  Position at;
  if (!find_position(p, thread, at)) return;
  const Sum sum = single_output(p, at.image, at.channel, at.plane, at.row, at.col);
  written_plane(p, at)[at.row * p.written_strides.row + at.col * written_col] =
      rounded<DW_WRITTEN>(activated<DW_ACTIVATION>(sum));
}

#endif

}  // namespace depthwise::cuda

extern "C" __global__ void __launch_bounds__(DW_THREADS, DW_BLOCKS)
    correlate(const __grid_constant__ depthwise::cuda::CorrelateParameters p) {
  depthwise::cuda::correlate_tile(p, blockIdx.x * DW_THREADS + threadIdx.x);
}
