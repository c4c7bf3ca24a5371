// What a launch tells a kernel: read by the kernels, which a user's machine compiles, and by the engine, which fills
// it.
#pragma once

namespace depthwise::cuda {

// Division by a number that is known when a kernel is launched: n / by, for 0 <= n < 2^31.
struct Divisor {
  unsigned by, multiplier, shift;
};

// Element strides, which may be zero or negative.
struct Strides {
  long long image, channel, depth, row, col;
};

// An axis beside the two of a tile: the engine's Axis with sizes that a GPU counts in 32 bits.
struct DepthAxis {
  int kernel, stride, dilate, pad;
};

// One of a tile's two axes. `read_first` is the input that output 0 meets through tap 0, or the first one after it.
struct TileAxis {
  int pad, read_first;
};

// A forward pass reads x and writes y; an input gradient reads gy and writes gx.
struct CorrelateParameters {
  const void *read, *W, *b;
  void* written;
  long long b_stride;
  Strides read_strides, written_strides, W_strides;  // of W: image is the filter, m of (m, c, ...)
  int read_size[3], written_size[3];                 // depth, rows, columns
  DepthAxis depth;
  TileAxis rows, cols;
  int filters;         // that are summed up: c_M of an input gradient, else 1
  Divisor multiplier;  // c_M
  int channels;        // that are written
  unsigned threads;    // that have work
  // Digits of a thread's number, the fastest first. Planar: column in a block, row tile in a block, block of columns,
  // block of rows, depth, channel. By channels: channel in a block, tile in a block's row, its row, block of channels,
  // block of columns, block of rows, depth. The rest is the image.
  Divisor digit[7];
  int row_tiles, col_tiles;
};

struct WeightGradParameters {
  const void *x, *gy;
  void *partial, *gW, *gb;  // partial sums, and what they make together; gb may be null
  Strides x_strides, gy_strides, gW_strides;
  int x_size[3], gy_size[3];
  DepthAxis depth;
  TileAxis rows, cols;
  int outs;  // channels of gy
  Divisor multiplier, outs_divisor;
  // Of a block's threads. By channels: neighbouring channels, or pairs of them, and the threads that share each.
  // Planar: channels, and the columns of each.
  int groups, members;
  Divisor out_blocks;  // by channels: blocks of channels; planar: channels
  unsigned blocks;     // by channels: blocks that have work; planar: such groups
  int parts, chunks;
  Divisor parts_divisor;
  int items;  // tiles of all images
  Divisor col_tiles, row_tiles, depths;
};

// gx of the padded image, which `padded` holds, is added up to that of the image.
struct FoldParameters {
  const void* padded;
  void* gx;
  Strides gx_strides;
  int size[3], before[3], padded_size[3];
  Divisor digit[4];  // column, row, depth, channel; or where channels are closest: channel, column, row, depth
  unsigned threads;
};

}  // namespace depthwise::cuda
