// What a kernel is handed: plain data that the plan derived from a Problem. Included by code of every target, so
// nothing here is more than a struct.
#pragma once
#include "../lattice.hpp"
#include "../problem.hpp"
#include "../row_layout.hpp"

namespace depthwise {

// One side of a correlation as the kernel walks it. `line` counts along the tile axis, which
// register tiles run along, `cross` along the other: rows and columns where lanes hold columns, columns and rows where
// lanes hold channels.
struct Side {
  void* data;
  DType dtype;
  int64_t batch, channel, line, cross;  // strides in elements
  int64_t lines, cross_size;            // sizes
  int64_t depth, depths;                // of planes that follow one another in an image: a stride, and how many
  bool direct;                          // the kernel reads or writes this memory itself; else through scratch

  // Elements to plane `index`, of all planes of all images. Out of line the linker could take one target's for all.
  [[gnu::always_inline]] int64_t plane(int64_t index) const { return index / depths * batch + index % depths * depth; }
};

// Lanes along the columns: taps of a tile's lines whose weights are kept in registers at once at most, beside what a
// target has room for; of columns that are taken by pairs, and of two phases of columns.
constexpr int most_taps_at_once = 16, taps_of_pairs = 4, taps_of_phases = 3;

// out[n, o, d] = sum over the taps t of d and k < sum of
// correlate(in[n, (o / divide) * sum + k, plane of d under t], W[o % divide + k, o / divide, t]) + b[o].
// The forward pass has divide = multiplier and sum = 1, the input gradient divide = 1 and sum = multiplier.
struct Correlation {
  Side in, out;
  const void* W;
  DType W_dtype;
  int64_t W_multiplier, W_channel, W_depth, W_line, W_cross;  // strides in elements
  int64_t kernel_depth, kernel_lines, kernel_cross;
  const void* b;  // null: none
  DType b_dtype;
  int64_t b_stride;
  int64_t batch, out_channels, divide, sum;
  int64_t fold = 1;  // channels last: of so many neighbouring out_channels the sums are added: each a channel of `out`
  Activation activation;  // of a forward pass: of each sum, while it is in a cache
  LatticeView lattice;
  RowLayoutView rows = {};  // planar: how input rows are packed
  // The plan's numbers; units are numbered so that neighbours share what they read. Those that plan/walk.cpp decides
  // (fetch_bytes, non_temporal, band, group, vectors_together, paired, streams, fetches, fetches_planes, fetches_bands)
  // hang on the machine and on the number of threads, and no bit of a result hangs on them.
  int64_t strip = 1, strips = 1;             // outputs of a unit along the row
  bool interleaved = false;                  // planar: columns of two phases are interleaved and stored together
  bool pairs = false;                        // planar: columns of stride two are taken as they lie, by pairs of taps
  int64_t taps_at_once = most_taps_at_once;  // planar
  int64_t channels_together = 0;             // planar: channels of W whose planes are converted together; else 0
  int64_t spare = 0;                         // planar: elements before and behind the input that may be read
  int64_t ring = 1;                          // planar: packed input rows that are kept at once, of each
  int64_t packed_sum;                        // planar: ... of so many of the `sum` planes; all of them, or one
  int64_t fetch_bytes = 0;                   // planar: input that a vector of one output row takes from memory; else 0
  bool non_temporal = false;                 // output is staged and goes to memory past the caches, tile by tile
  int64_t rows_packed = 0, columns_packed = 0;  // channels last: the most that a unit packs
  int64_t planes_packed = 1;                    // ... and, where rows are converted, of how many planes
  int64_t band = 1, bands = 1;                  // channels last: output rows of a unit
  int64_t group = 1, groups = 1;                // channels last: vectors of channels of a unit
  int64_t vectors_together = 1;                 // channels last: ... that are taken down a band before the next are
  bool paired = false;                          // channels last: two vectors of channels are summed at once
  bool streams = false;                         // channels last: the arrays come from memory, not from a cache
  bool fetches = false;         // channels last: what the next tile reads and writes is fetched meanwhile
  bool fetches_planes = false;  // ... or the planes that are packed next
  bool fetches_bands = false;   // ... or the rows of pixels of the band after this one
  int64_t units = 1;

  // Planes of the input that an output plane is summed over, at most.
  int64_t planes_summed() const { return lattice.max_depth_taps * sum; }
};

// Whether a channel of the input is spread over the lanes of those that it feeds, as it is read.
inline bool spreads(const Correlation& job) { return job.in.direct && job.divide > 1 && job.fold == 1; }

// Additions into one lane of a weight gradient's sums before it is emptied: the bound of their error hangs on it.
constexpr int64_t steps_kept = 512;

// Rows of gy that a planar weight gradient takes at once at most.
constexpr int64_t gradient_tile = 32;

// Taps of a line at most whose weights, or sums, stay in registers.
constexpr int few_taps = 8;

// gW[o % divide, o / divide] = sum over planes n of the products of gy[n, o] with x[n, o / divide] under each tap.
// Of taps one behind another in depth each is a gradient of its own.
// Images and bands of gy rows are dealt to a fixed number of parts, each summed alone, so that the order of summation
// does not depend on the threads.
struct WeightGradient {
  Side x, g;
  double* sums = nullptr;     // [part][o][kernel row][kernel column]
  double* gb_sums = nullptr;  // [part][o]: sums of gy itself; null where nobody asks for them
  // Where a single part's sums go instead, if a channel's taps lie as they do; else null.
  void* gW = nullptr;
  int64_t gW_multiplier, gW_channel;  // strides in elements
  int64_t kernel_lines, kernel_cross;
  int64_t sum_line, sum_cross;          // elements of a sum between taps along the lines, and across them
  int64_t batch, out_channels, divide;  // batch: of planes, where an image has several
  LatticeView lattice;
  RowLayoutView rows = {};  // planar: how rows of x are packed
  // The plan's numbers. All but `fetches` decide the order of the sums: from the shapes and the target alone.
  int64_t strip = 1, ring = 1, rows_packed = 0, columns_packed = 0;
  int64_t band = 1, bands = 1;               // rows of gy in a cell, cells in an image
  int64_t parts = 1;                         // shares of the batch * bands cells
  int64_t group = 1, groups = 1;             // channels last: vectors of channels of a unit
  int64_t tile = 1;                          // planar: rows of gy that are taken at once at most
  int64_t channels_together = 0, spare = 0;  // planar: as above
  bool fetches = false;                      // what follows a tile is fetched meanwhile
  // Channels last: columns of a band, and of these vectors of channels, that are summed before the next are. Packed
  // vectors are packed together.
  int64_t columns_together = 1, vectors_together = 1;
  int64_t units = 1;  // groups (or planes) * parts
};

// One axis of planes that are transformed: along it output o stands at o * out_step + first, input i at i * in_step and
// tap t at tap_first + t * tap_step, and an output sums what inputs stand behind it under the taps. Outputs are cut
// into tiles, each with the inputs that it meets on a circle of `size` places.
struct FourierAxis {
  int64_t size, passes;
  int radix[8];          // of each pass
  const void* roots[8];  // its factors, in the sums' type: see transform_pass
  int64_t outs, out_step, first, ins, in_step, taps, tap_step, tap_first;
  int64_t tile, tiles;

  int64_t tap_extent() const { return (taps - 1) * (tap_step < 0 ? -tap_step : tap_step) + 1; }
};

// A correlation, or a weight gradient, as products of planes' spectra. Lanes hold channels of one tile, or tiles (of
// all images) of one channel. `in` is x, of an input gradient gy; `out` is y, of an input gradient gx, of a weight
// gradient gy, which is read then.
struct Spectral {
  Side in, out;  // `line` along the width, `cross` along the height
  FourierAxis h, w;
  const void* W;
  DType W_dtype;
  int64_t W_multiplier, W_channel, W_h, W_w;  // strides in elements
  void* spectra = nullptr;                    // those of all filters, where they are kept: see FilterSpectra
  const void* b;
  DType b_dtype;
  int64_t b_stride;
  int64_t batch, channels, multiplier;
  bool adds;  // an input gradient: the channels that one feeds are summed
  Activation activation;
  bool lanes_of_tiles;
  int64_t filters, cells;    // vectors of channels (or channels), and the images' tiles (or vectors of these)
  int64_t parts = 1;         // of a weight gradient: shares of the cells, each summed alone
  double* sums = nullptr;    // ... [part][o][tap]
  uint8_t* unfit = nullptr;  // [image][channel], of a weight gradient [channel]: sums that are not finite
  int64_t units;
};

// gz = gy * activation'(z), element by element; the last axis in pieces.
struct ActivationGradient {
  Activation activation;
  Array z, gy, gz;
  int64_t sizes[array_axes];
  int64_t piece, pieces;  // elements of a unit, units of a row
  int64_t units;
};

// A decode step: causal_update.hpp says what its arrays are. The line axis of x, y and the state is time, of W its
// taps.
struct CausalUpdate {
  Side x, state, W, b, y;
  int64_t batch, channels, length, width, state_length;
  const int64_t *starts, *rows;  // null: no circle, each its own
  int64_t piece = 1;             // columns of x that are taken at once
  int64_t group = 1;             // vectors of channels of a unit
  Activation activation = Activation::none;
};

// A kernel does the units [begin, end) of a job with scratch memory of its own.
template <class Job>
struct Kernel {
  int64_t (*scratch_bytes)(const Job&);
  void (*run)(const Job&, int64_t begin, int64_t end, void* scratch);
};

// What one target offers; index 0 keeps float32 sums, index 1 float64.
struct Kernels {
  int lanes[2];  // of vectors
  int64_t max_lines;
  bool masks_products;   // lanes beside a row cost nothing
  int64_t most_columns;  // of a tile, where lanes hold channels
  bool has_pairs;        // ... and where two vectors of these may be summed at once, of so many taps:
  int64_t most_paired_taps;
  int64_t spread_block[2];  // channels that may be spread over a vector's lanes as they are read; 0: none
  Kernel<Correlation> correlate_planar[2], correlate_converted[2];
  Kernel<Correlation> correlate_channels_last[2], correlate_converted_pixels[2];
  Kernel<Correlation> correlate_sequence[2], correlate_sequence_pixels[2];
  Kernel<WeightGradient> weight_grad_planar[2], weight_grad_converted[2], weight_grad_channels_last[2];
  Kernel<WeightGradient> weight_grad_sequence[2], weight_grad_sequence_pixels[2];
  Kernel<Spectral> correlate_spectral[2], transform_filters[2], weight_grad_spectral[2];
  Kernel<ActivationGradient> activation_grad[2];
  Kernel<CausalUpdate> causal_update[2];
  void (*spend_multiply_adds[2])(int64_t rounds, double* sink);
  double multiply_add_flop[2];  // operations of one such round
};

}  // namespace depthwise
