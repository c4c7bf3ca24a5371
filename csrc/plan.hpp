// Problem x Target -> Plan: which kernel, on what tiles, by how many threads. Pure, and printable.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lattice.hpp"
#include "targets.hpp"

namespace depthwise {

struct Plan {
  Pass pass;
  const Kernels* kernels;
  const char* kernel;  // the file of its loops
  DType sums;
  bool channel_lanes;
  int threads;
  double flop, bytes;
  int64_t units, scratch_bytes = 0;
  bool clears = false;  // outputs that no tap meets are left to whoever runs the plan: the output is cleared before

  // Forward and input gradient use the first pair, the weight gradient the second; each job points into `lattice`.
  Correlation correlation{};
  const Kernel<Correlation>* correlate = nullptr;
  WeightGradient weight_gradient{};
  const Kernel<WeightGradient>* sum_products = nullptr;
  Array gx, gW, gb;
  int64_t gx_shape[4];
  int64_t kernel_h, kernel_w;

  Plan(const Plan&) = delete;
  Plan(const Problem&, const Target&, int threads);

 private:
  Lattice lattice;
  RowLayout rows;

  Plan(const Target&, int threads, const Problem&);
  void plan_correlation(const Problem&, const Kernels&, int most_threads);
  void correlate_by_channels(const Problem&, const Kernels&, int most_threads);
  void correlate_by_columns(const Problem&, const Kernels&);
  // Rows that are read in place are packed, as they lie, where whole vectors would reach beside the array.
  template <class Job>
  void lay_rows_out(Job& job, bool in_place, int64_t lanes) {
    rows = RowLayout(job.lattice, job.strip, lanes, in_place);
    job.rows = rows.view();
  }
  void plan_weight_gradient(const Problem&, const Kernels&);
  void sum_by_channels(const Problem&, const Kernels&, int64_t out_step);
  void sum_by_columns(const Problem&, const Kernels&);
};

// The plan's numbers as text: pairs of a name and a value.
std::vector<std::pair<std::string, std::string>> describe(const Plan&);

}  // namespace depthwise
