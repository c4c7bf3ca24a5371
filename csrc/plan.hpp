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
  std::string kernel, input, output;  // which loops; how they read and write memory, and why
  DType sums;
  int threads;
  double flop, bytes;
  int64_t units, scratch_bytes = 0;
  bool clears = false;  // outputs that no tap meets are left to whoever runs the plan: the output is cleared before

  // Forward and input gradient use the first pair, the weight gradient the second; each job points into `lattice`.
  Correlation correlation;
  const Kernel<Correlation>* correlate = nullptr;
  WeightGradient weight_gradient;
  const Kernel<WeightGradient>* sum_products = nullptr;
  Array gx, gW, gb;
  int64_t gx_shape[4];
  int64_t kernel_h, kernel_w;

  Plan(const Plan&) = delete;
  Plan(const Problem&, const Target&, int threads);

 private:
  bool channel_lanes;
  Lattice lattice;
  RowLayout rows;

  Plan(const Target&, int threads, const Problem&);
  void plan_correlation(const Problem&, const Kernels&, int most_threads);
  template <class Job>
  void lay_rows_out(Job&, bool in_place, const Kernels&, int64_t lanes);
  void plan_weight_gradient(const Problem&, const Kernels&);
};

// Whether an array (batch, channels, height, width) is laid out with neighbouring channels closest.
bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width);

// The plan's numbers as text: pairs of a name and a value.
std::vector<std::pair<std::string, std::string>> describe(const Plan&);

}  // namespace depthwise
