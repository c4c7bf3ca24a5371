// How much a problem, a band or a strip of it reads, and what of that fits into scratch memory.
#pragma once
#include <algorithm>
#include <cstdlib>

#include "../kernels/job.hpp"
#include "numbers.hpp"

namespace depthwise {

// The outputs that have each tap inside the image, summed over the taps.
double valid_taps(const Axis&);

// Bytes of x and y.
double array_bytes(const Problem&);

// Input rows or columns between the first and the last that `outs` neighbouring outputs read.
int64_t extent(const Axis&, bool input_grad, int64_t outs);

// Input rows that `outs` neighbouring output rows of a phase read: those of taps of one residue overlap.
int64_t rows_read(const Axis&, bool input_grad, int64_t outs);

// Whether pixels can be packed for lanes of channels: the columns between the first and the last that an output reads
// may be too many, where those that it does read are few.
bool pixels_fit(const Problem&, int64_t lane_bytes);

// An array as a kernel with lanes along channels, or along columns, walks it.
Side side(const Array&, int64_t height, int64_t width, bool channel_lanes);

// Places modulo 4 KiB, in a first-level cache, that one vector of channels of all pixels of a row takes at most.
int64_t places_of_pixels(const Side&, int64_t item);

// Whether a large kernel's pixels fall into so few places modulo 4 KiB that they push one another out of a first-level
// cache of 8 or 12 ways.
bool crowds(const Side&, const Problem&, int64_t item, int64_t most_lines);

// Makes bands and strips smaller until what they pack fits.
template <class Measure>
void shrink(int64_t& band, int64_t& strip, Measure measure) {
  struct Step {
    int64_t *size, least, bytes;
  };
  for (const auto& [size, least, bytes] : {Step{&band, 2 * least_band, packed_bytes},
                                           {&strip, wide_strip, packed_bytes},
                                           {&band, least_band, packed_bytes},
                                           {&strip, least_strip, packed_bytes},
                                           {&band, 1, most_packed_bytes},
                                           {&strip, 1, most_packed_bytes}})
    while (measure() > bytes && *size > least) *size = std::max(least, ceil_div(*size, 2));
}

// Makes what a planar kernel keeps of packed rows smaller until its scratch memory fits. `lay_out` lays rows of another
// strip out; `packed_sum` is the planes of a sum that are packed together. What grows with the kernel alone is not
// counted.
template <class Job, class LayOut>
int64_t fit_scratch(Job& job, const Kernel<Job>& kernel, const Kernels& k, int64_t item, int64_t& packed_sum,
                    const LayOut& lay_out) {
  const LatticeView& lat = job.lattice;
  const int64_t N = k.lanes[item == 8];
  const int64_t least_ring = std::min(job.ring, lat.max_set_taps + (k.max_lines - 1) * lat.lines_per_out);
  const int64_t kernel_bytes = 3 * N * item * job.kernel_lines * job.kernel_cross;
  for (;;) {
    lay_out();
    const int64_t bytes = kernel.scratch_bytes(job);
    if (bytes <= most_scratch_bytes + kernel_bytes) return bytes;
    if (job.ring > least_ring)
      job.ring = least_ring;
    else if (packed_sum > 1)
      packed_sum = 1;
    else if (job.strip > N)
      job.strip = ceil_div(job.strip / 2, N) * N;
    else
      return bytes;
  }
}

}  // namespace depthwise
