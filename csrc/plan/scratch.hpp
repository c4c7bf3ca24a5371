// Makes what a job packs smaller until it fits the scratch memory of a thread.
#pragma once
#include <algorithm>

#include "candidates.hpp"

namespace depthwise {

struct UnitSize {
  int64_t band, strip;  // rows and columns of a unit
};

// Smaller bands and strips until what they pack fits; measure(UnitSize) says in bytes what that is.
template <class Measure>
UnitSize shrunk(UnitSize cut, const Measure& measure) {
  const FixedNumbers& n = numbers.fixed;
  struct Step {
    int64_t UnitSize::* size;
    int64_t least, bytes;
  };
  for (const auto& [size, least, bytes] : {Step{&UnitSize::band, 2 * n.least_band, n.packed_bytes},
                                           {&UnitSize::strip, n.wide_strip, n.packed_bytes},
                                           {&UnitSize::band, n.least_band, n.packed_bytes},
                                           {&UnitSize::strip, n.least_strip, n.packed_bytes},
                                           {&UnitSize::band, 1, n.most_packed_bytes},
                                           {&UnitSize::strip, 1, n.most_packed_bytes}})
    while (measure(cut) > bytes && cut.*size > least) cut.*size = std::max(least, ceil_div(cut.*size, 2));
  return cut;
}

// A planar strip's half, in whole vectors.
inline int64_t half_strip(int64_t strip, int64_t N) { return ceil_div(strip / 2, N) * N; }

// `strip`, or one so much shorter that its packed rows stay in the first-level cache's neighbourhood; `sum` is the
// planes that are packed together.
template <class Job>
int64_t packed_strip(int64_t strip, const Job& job, int64_t sum, const Facts& f) {
  const LatticeView& lat = job.lattice;
  const int64_t residues = std::min(lat.cross_in_step, std::max<int64_t>(1, job.kernel_cross));
  const int64_t column_bytes = sum * lat.max_sets * job.ring * residues * f.item;
  while (strip > 8 * f.N && strip * column_bytes > numbers.fixed.packed_bytes) strip = half_strip(strip, f.N);
  return strip;
}

// A planar job with its rows laid out, and less of them kept or a shorter strip until its scratch memory fits. What
// grows with the kernel alone is not counted. Rows that are read in place are packed, as they lie, where whole vectors
// would reach beside the array. `tile` is the most rows that are taken at once.
template <class Job>
Planned<Job> fitted(const Job& asked, const Kernel<Job>& kernel, const Facts& f, bool in_place, int64_t tile) {
  Planned<Job> planned{.job = asked};
  Job& job = planned.job;
  const LatticeView& lat = job.lattice;
  const int64_t least_ring = std::min(job.ring, lat.max_set_taps + (tile - 1) * lat.lines_per_out);
  const int64_t kernel_bytes = 3 * f.N * f.item * job.kernel_lines * job.kernel_cross;
  for (;;) {
    planned.rows = RowLayout(lat, job.strip, f.N, in_place);
    job.rows = planned.rows.view();
    if (kernel.scratch_bytes(job) <= numbers.fixed.most_scratch_bytes + kernel_bytes) return planned;
    if (job.ring > least_ring) {
      job.ring = least_ring;
      continue;
    }
    if constexpr (requires { job.packed_sum; }) {
      if (job.packed_sum > 1) {
        job.packed_sum = 1;
        continue;
      }
    }
    if (job.strip <= f.N) return planned;
    job.strip = half_strip(job.strip, f.N);
  }
}

}  // namespace depthwise
