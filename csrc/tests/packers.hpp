// The packers of a target as plain functions, so that a test that is built for every processor can call them. Memory is
// of the accumulator's type; `scratch` is for what a packer keeps, and for what it packs.
#pragma once
#include "../kernels/job.hpp"

namespace depthwise {

struct Packers {
  int64_t lanes;
  // to[i] = from[i * step], and to[i * step] = from[i].
  void (*widen)(DType, void* to, const void* from, int64_t step, int64_t count);
  void (*narrow)(DType, void* to, int64_t step, const void* from, int64_t count);
  // One vector, of elements `step` apart.
  void (*gather)(DType, void* to, const void* from, int64_t step);
  // to[column][lane] = from[lane][column], whose lanes lie `lane` apart, and back.
  void (*columns_to_pixels)(void* to, const void* from, int64_t lane, int64_t columns);
  void (*pixels_to_columns)(void* to, int64_t lane, const void* from, int64_t columns);
  // Lane l of vector v holds channel (v * lanes + l) / divide * sum + k.
  void (*load_pixels)(const Side&, int64_t channels, int64_t divide, int64_t sum, void* to, int64_t from, int64_t v,
                      int64_t k, int64_t columns, void* scratch);
  void (*store_pixels)(const Side&, int64_t channels, const void* from, int64_t to, int64_t v, int64_t columns,
                       void* scratch);
  // What the taps read for outputs [u0, u1), columns [begin, end), of vector v; returns the packed rows, of `columns`
  // pixels each, `sum` planes of `rows`, and stores where each tap finds that of the first output.
  const void* (*pack_windows)(const Side&, int64_t channels, int64_t divide, int64_t sum, int64_t rows, int64_t columns,
                              const CrossTap*, int64_t taps, int64_t step, int64_t u0, int64_t u1, int64_t v,
                              int64_t begin, int64_t end, int64_t* place, void* scratch);
  // Slides a window of at most `most` lines down the image, from [0, height) on, a line each time; tells of each place.
  // `near`: nothing but the row itself may be read.
  void (*pack_lines)(const Side&, const RowLayoutView&, int64_t strip_begin, int64_t most, int64_t height, bool near,
                     void (*see)(void* what, int64_t line, const void* packed), void* what, void* scratch);
  // The weights and the bias of a group.
  void (*pack_weights)(const Correlation&, int64_t group, const void** weights, const void** bias, void* scratch);
};

}  // namespace depthwise
