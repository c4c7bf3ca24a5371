#include "plan.hpp"

#include <utility>

#include "plan/jobs.hpp"

namespace depthwise {
namespace {

// Whether tiles do: lines of a tile are then columns of an image.
bool runs_along_columns(const Candidate& c) { return c.channel_lanes && c.form != Form::one_line; }

// Whether a stride of two along the lines is left to the tiles: a weight gradient's, since the tap sets of a
// correlation fill the registers as well apart, and so do more than three taps of pixels.
bool keeps_stride(const Candidate& c, const Problem& p, const Facts& f) {
  if (p.pass != Pass::weight_grad) return false;
  if (c.channel_lanes) return p.w.stride == 2 && p.w.dilate == 1 && p.w.kernel > 1 && p.w.kernel <= 3;
  return c.form != Form::packed && f.pairs;
}

// What suits the whole, or, where a part of it cannot be read or written so, another that sums in the same order.
const Candidate& chosen(const Problem& part, bool is_part, const Facts& whole, const Target& target) {
  const Candidate& best = cheapest(whole);
  return is_part ? cheapest_like(best, Facts(part, *target.kernels, whole.narrow_lanes)) : best;
}

}  // namespace

Plan::Plan(const Problem& p, const Target& target, int most_threads, const Machine& machine, const Candidate* forced)
    : normalised(p),
      problem(normalised.problem),
      considered(p.whole ? normalised.whole : problem, *target.kernels, target.narrow ? target.narrow->lanes[0] : 0),
      candidate(forced ? *forced : chosen(problem, p.whole, considered, target)),
      facts(problem, considered.narrow_lanes && !candidate.channel_lanes ? *target.narrow : *target.kernels),
      lattice(problem.pass, runs_along_columns(candidate) ? problem.w : problem.h,
              runs_along_columns(candidate) ? problem.h : problem.w, problem.d, facts.k.max_lines,
              runs_along_columns(candidate), keeps_stride(candidate, problem, facts)) {
  const auto plan = [&](const auto& task, const auto*& kernel, auto& job) {
    kernel = &(facts.k.*task.kernels)[facts.wide];
    auto planned = task.plan(facts, lattice.view(), *kernel, candidate.form);
    rows = std::move(planned.rows);
    job = planned.job;
    task.walk(facts, machine, most_threads, job);
    units = job.units;
    scratch_bytes = kernel->scratch_bytes(job);
  };
  if (problem.pass == Pass::weight_grad) {
    plan(candidate.weight_gradient, sum_products, weight_gradient);
  } else {
    plan(candidate.correlation, correlate, correlation);
    // Kernels that write to a stage of their own clear that.
    const LatticeView& lat = correlation.lattice;
    const bool all_planes = lat.depth_outs == (facts.gradient ? problem.d.size : problem.d.out);
    clears = !lat.covers && !correlation.channels_together &&
             (!candidate.channel_lanes || correlation.out.direct || !all_planes);
  }
  threads = threads_for(facts, units, most_threads);
}

}  // namespace depthwise
