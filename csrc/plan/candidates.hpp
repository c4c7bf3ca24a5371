// The ways in which a problem can be done, of which the cheapest that fits is taken. A new way is an entry in the list
// of candidates.cpp.
#pragma once
#include "../machine.hpp"
#include "../row_layout.hpp"
#include "facts.hpp"

namespace depthwise {

// How a kernel comes by its input. Those of one line do so in their own ways.
enum class Form { in_place, converted, packed, one_line };

// What the shapes and the target decide of a job, and what it points into.
template <class Job>
struct Planned {
  Job job;
  RowLayout rows{};
};

template <class Job>
struct Task {
  const char* file;  // of the kernel's loops
  Kernel<Job> (Kernels::*kernels)[2];
  // Bits may hang on what `plan` decides: it knows the shapes and the target alone. None hangs on what `walk` decides,
  // who knows the machine and the number of threads.
  Planned<Job> (*plan)(const Facts&, const LatticeView&, const Kernel<Job>&, Form);
  void (*walk)(const Facts&, const Machine&, int threads, Job&);
};

struct Candidate {
  const char* name;
  bool channel_lanes;
  Form form;
  Task<Correlation> correlation;
  Task<WeightGradient> weight_gradient;  // no file: it does not do such
  const char* (*misfit)(const Facts&);   // why it cannot do a problem; null where it can
  const char* (*unwise)(const Facts&);   // why it must not, though it can; null where it may
  double (*cost)(const Facts&);          // multiply-adds that are spent for one of use
};

constexpr int candidate_count = 8;
extern const Candidate candidates[candidate_count];

const char* why_not(const Candidate&, const Facts&);  // null where it fits

// An estimate of the cycles that one thread takes.
double cycles(const Candidate&, const Facts&);

// Of those that cost the same the first.
const Candidate& cheapest(const Facts&);
// What sums with the bits of another: that itself, unless it cannot do this.
const Candidate& cheapest_like(const Candidate&, const Facts&);

}  // namespace depthwise
