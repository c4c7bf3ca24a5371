// Problem x Target -> Plan: which kernel, on what tiles, by how many threads. Pure, and printable.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lattice.hpp"
#include "targets.hpp"

namespace depthwise {

struct Plan {
  std::string kernel, input, output;  // which loops; how they read and write memory, and why
  DType sums;
  int threads;
  double flop, bytes;
  Lattice lattice;
  Correlation job;  // points into lattice
  const CorrelationKernel* code;
  int64_t scratch_bytes;

  Plan(const Plan&) = delete;
  Plan(const Problem&, const Target&, int threads);
};

// Whether an array (batch, channels, height, width) is laid out with neighbouring channels closest.
bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width);

void execute(const Plan&);

// The same text for Python: pairs of a name and a value.
std::vector<std::pair<std::string, std::string>> describe(const Plan&);

}  // namespace depthwise
