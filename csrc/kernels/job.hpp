// What a kernel is handed: plain data that the plan derived from a Problem. Included by code of every target, so
// nothing here is more than a struct.
#pragma once
#include "../lattice.hpp"
#include "../problem.hpp"

namespace depthwise {

// One side of a correlation as the kernel walks it. `line` is the axis that register tiles run along, `offset` the
// other: rows and columns where lanes hold columns, columns and rows where lanes hold channels.
struct Side {
  void* data;
  DType dtype;
  int64_t batch, channel, line, offset;  // strides in elements
  int64_t lines, offsets;                // sizes
  bool direct;                           // the kernel reads or writes this memory itself; else through scratch
};

// out[n, o] = sum over k < sum of correlate(in[n, (o / divide) * sum + k], W[o % divide + k, o / divide]) + b[o].
// The forward pass has divide = multiplier and sum = 1, the input gradient divide = 1 and sum = multiplier.
struct Correlation {
  Side in, out;
  const void* W;
  DType W_dtype;
  int64_t W_multiplier, W_channel, W_line, W_offset;  // strides in elements
  int64_t kernel_lines, kernel_offsets;
  const void* b;  // null: none
  DType b_dtype;
  int64_t b_stride;
  int64_t batch, out_channels, divide, sum;
  LatticeView lattice;
  // The plan's numbers; units are numbered so that neighbours share what they read.
  int64_t strip, strips;   // outputs of a unit along the row
  int64_t ring;            // packed input rows that are kept at once
  int64_t columns_packed;  // channels last: columns of a packed row
  bool ring_by_tap;        // channels last: a packed row's place is its tap's, not its row's, modulo the ring
  int64_t band, bands;     // channels last: output rows of a unit
  int64_t group, groups;   // channels last: vectors of channels of a unit
  int64_t units;
};

// A kernel does the units [begin, end) of a job with scratch memory of its own.
struct CorrelationKernel {
  int64_t (*scratch_bytes)(const Correlation&);
  void (*run)(const Correlation&, int64_t begin, int64_t end, void* scratch);
};

// What one target offers; index 0 keeps float32 sums, index 1 float64.
struct Kernels {
  int lanes[2];
  int64_t max_lines;
  CorrelationKernel correlate_planar[2], correlate_channels_last[2];
};

}  // namespace depthwise
