// What is known of a problem before anything is decided: from its shapes, dtypes, strides and the target alone.
#pragma once
#include "../kernels/job.hpp"
#include "numbers.hpp"

namespace depthwise {

struct Facts {
  // `narrow_lanes`: of the vectors of float32 that another target's kernels have for short rows, or 0.
  Facts(const Problem&, const Kernels&, int64_t narrow_lanes = 0);

  const Problem& p;
  const Kernels& k;
  const DType sums;
  const bool wide;                      // sums are float64: the index of a kernel
  const bool gradient;                  // of the input
  const int64_t N, item;                // lanes of a vector of sums, bytes of a sum
  const int64_t outs;                   // channels of y
  const int64_t narrow_lanes;           // of vectors that are half as long and hold a whole row, or 0
  const Array &read, &written;          // the image that outputs are made of, and theirs; of a weight gradient x and gy
  const int64_t images;                 // planes of y, of one channel
  const double taps_d, taps_h, taps_w;  // pairs of an output and a tap that meet inside the image
  const double products, bytes, elements;  // multiply-adds of use; of x and y together
  const bool channels_closest;             // channels of what is read are neighbours in memory
  const bool written_closest;              // ... and of the other array
  // Channels whose planes of another dtype may be converted together: none where a plane is too large for the cache or
  // has gaps in its rows. A weight gradient takes those of all images, if it can.
  const int64_t planes_together;
  const bool pairs;             // a stride of two is taken by loads of every other element, from every other row
  const bool planes_converted;  // planes of another dtype can be converted together, and are
  const bool rows_in_place;     // lanes along the columns are loaded from the array itself

  // Of the array that is read, and of the other.
  int64_t read_depth() const { return gradient ? p.d.out : p.d.size; }
  int64_t read_height() const { return gradient ? p.h.out : p.h.size; }
  int64_t read_width() const { return gradient ? p.w.out : p.w.size; }
  int64_t written_height() const { return gradient ? p.h.size : p.h.out; }
  int64_t written_width() const { return gradient ? p.w.size : p.w.out; }
  // Outputs of what is computed: channels of an input gradient are x's.
  int64_t out_channels() const { return gradient ? p.channels : outs; }
  int64_t vectors() const { return ceil_div(out_channels(), N); }

  // Neighbouring outputs of a row read columns, and are written to columns, that are neighbours or every other one.
  bool row_is_read_in_steps() const { return gradient || p.w.stride == 1 || pairs; }
  bool row_is_written_in_steps() const;
  // Lanes along the columns: two phases of columns are summed side by side, to be stored together.
  bool joins_phases() const;

  // An array as a kernel with lanes along channels, or along columns, walks it.
  Side side(const Array&, bool image, bool channel_lanes, bool direct) const;
};

// Outputs for which a tap is inside the image.
struct Outputs {
  int64_t first, count;
};
Outputs outputs_met(const Axis&, int64_t tap);

// An axis that a problem does not have.
bool is_lacking(const Axis&);

// The same problem in words that kernels understand: without emptiness, and an image one column wide lying as a row. Of
// a part its whole is put into the same words, so that both have their axes in one order.
struct Normalised {
  explicit Normalised(const Problem&);
  Problem problem, whole;  // of what is no part the same
};

// Rows or columns of x that some tap meets, at most.
int64_t inputs_met(const Axis&);

inline constexpr int64_t cache_line = 64;  // bytes

// Input rows or columns between the first and the last that `outs` neighbouring outputs read.
int64_t extent(const Axis&, bool input_grad, int64_t outs);

// Input rows that `outs` neighbouring output rows of a phase read: those of taps of one residue overlap.
int64_t rows_read(const Axis&, bool input_grad, int64_t outs);

// Whether pixels can be packed for lanes of channels: the columns between the first and the last that an output reads
// may be too many, where those that it does read are few.
bool pixels_fit(const Facts&);

// Places modulo 4 KiB, in a first-level cache, that one vector of channels of all pixels of a row takes at most.
int64_t places_of_pixels(int64_t pixel_stride, int64_t item);

// How many times the ways of a first-level cache the pixels fill, those that a tile reads and those that it writes, in
// the few places modulo 4 KiB that they fall into: more than once, and they push one another out.
double crowding_of_pixels(const Facts&);
bool pixels_crowd(const Facts&);
// The same of what a weight gradient in channels-last memory reads for so many columns of gy at once.
bool products_crowd(const Facts&, int64_t columns);
// Whether the sums of a weight gradient whose lanes hold channels stand in registers all at once, on most targets.
bool sums_fit_registers(const Facts&);

// Whether the rows of a tile, those that it reads and those that it writes, fall into so few places modulo 4 KiB that
// they push one another out of a first-level cache, as rows do that are a power of two long.
bool rows_crowd(const Facts&);

// The same of the rows that lie under an output's taps where lanes hold channels, which are then copied in bands if
// these hold so many rows that few are copied twice.
bool pixel_rows_crowd(const Facts&);

// Planes between the first and the last that an output plane is summed over, at most.
int64_t planes_read(const Facts&);

// Bytes that bands of so many output rows take, of input and output together, as pixels of the sums' type.
int64_t converted_band_bytes(const Facts&, int64_t rows);

// Whether an array is laid out with neighbouring channels closest.
bool channels_are_closest(const int64_t strides[array_axes], const int64_t sizes[array_axes]);

}  // namespace depthwise
