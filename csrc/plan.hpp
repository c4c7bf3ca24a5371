// Problem x Target -> Plan: which kernel, on what tiles, by how many threads. Printable.
#pragma once
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "machine.hpp"
#include "plan/candidates.hpp"
#include "targets.hpp"

namespace depthwise {

struct Plan {
  // Pure; but no bit of a result hangs on what the machine and the number of threads decide. `forced` is for tests.
  Plan(const Problem&, const Target&, int threads, const Machine& = this_machine(), const Candidate* forced = nullptr);
  Plan(const Plan&) = delete;

  Normalised normalised;
  const Problem& problem;
  Facts considered;  // what the candidate was chosen by: of a part, those of the whole
  const Candidate& candidate;
  Facts facts;  // of the kernels that run: a planar candidate takes the narrow ones where a row fits

  // The jobs point into these.
  Lattice lattice;
  RowLayout rows;
  // Forward and input gradient use the first pair, the weight gradient the second.
  const Kernel<Correlation>* correlate = nullptr;
  Correlation correlation{};
  const Kernel<WeightGradient>* sum_products = nullptr;
  WeightGradient weight_gradient{};

  int threads = 1;
  int64_t units = 0, scratch_bytes = 0;
  bool clears = false;  // outputs that no tap meets are left to whoever runs the plan: the output is cleared before
};

// The plan's numbers as text: pairs of a name and a value.
std::vector<std::pair<std::string, std::string>> describe(const Plan&);

// The candidates: name, cycles that they are estimated to take, and why they do not fit, or nothing.
std::vector<std::tuple<std::string, double, std::string>> describe_candidates(const Plan&);

}  // namespace depthwise
