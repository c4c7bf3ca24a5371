#include "plan.hpp"

#include <algorithm>

#include "plan/lanes.hpp"
#include "plan/sizes.hpp"

namespace depthwise {
namespace {

// An image one column wide is taken as one row: lanes and tiles then run along its length.
Problem lying(Problem p) {
  if (p.w.size != 1 || p.w.kernel != 1 || p.w.out != 1) return p;
  std::swap(p.h, p.w);
  for (Array* a : {&p.x, &p.W, &p.y}) std::swap(a->strides[2], a->strides[3]);
  return p;
}

// The same problem in words that kernels understand, who look at an output or a filter to find where its taps read: a
// weight gradient of no outputs is one of no images, an input gradient of no filters one of no taps and no rows, and
// without filters the other passes have no channels.
Problem without_emptiness(Problem p) {
  if (p.pass == Pass::weight_grad && p.h.out * p.w.out == 0) {
    p.batch = 0;
    for (Axis* a : {&p.h, &p.w}) a->out = std::max<int64_t>(1, a->out);
  }
  if (p.multiplier == 0) {
    p.multiplier = 1;
    if (p.pass == Pass::input_grad)
      p.h.kernel = p.h.out = 0;
    else
      p.channels = 0;
  }
  return p;
}

// How a side is read or written, and why.
std::string how(const Side& s, const Plan& plan) {
  const int64_t lane_step = plan.channel_lanes ? s.channel : s.cross;
  if (s.direct) return s.dtype == plan.sums ? "in place" : "converted, a part at a time";
  if (s.dtype != plan.sums) return "packed: converted to the type of the sums";
  if (lane_step != 1) return "packed: its lanes lie " + std::to_string(lane_step) + " elements apart";
  return "packed: a stride or a multiplier spreads its lanes";
}

}  // namespace

Plan::Plan(const Problem& p, const Target& target, int most_threads)
    : Plan(target, most_threads, lying(without_emptiness(p))) {}

Plan::Plan(const Target& target, int most_threads, const Problem& p)
    : pass(p.pass),
      kernels(target.kernels),
      sums(accumulator(p)),
      channel_lanes(lanes_along_channels(p, *target.kernels, sums)),
      gx(p.x),
      gW(p.W),
      gb(p.b),
      gx_shape{p.batch, p.channels, p.h.size, p.w.size},
      kernel_h(p.h.kernel),
      kernel_w(p.w.kernel),
      lattice(p.pass, channel_lanes ? p.w : p.h, channel_lanes ? p.h : p.w, target.kernels->max_lines, channel_lanes,
              !channel_lanes && takes_pairs(p, sums)) {
  flop = 2.0 * static_cast<double>(p.batch * p.channels * p.multiplier) * valid_taps(p.h) * valid_taps(p.w);
  bytes = array_bytes(p);
  const double sums_of_gy =
      pass == Pass::weight_grad && gb.data ? bytes / static_cast<double>(item_bytes(p.y.dtype)) : 0;
  if (pass == Pass::weight_grad)
    plan_weight_gradient(p, *target.kernels);
  else
    plan_correlation(p, *target.kernels, most_threads);
  threads = flop + sums_of_gy < serial_flop ? 1 : static_cast<int>(std::clamp<int64_t>(units, 1, most_threads));
}

std::vector<std::pair<std::string, std::string>> describe(const Plan& plan) {
  const bool gradient = plan.pass == Pass::weight_grad;
  const Correlation& c = plan.correlation;
  const WeightGradient& w = plan.weight_gradient;
  std::vector<std::pair<std::string, std::string>> text = {
      {"kernel", plan.kernel},
      {"sums", plan.sums == DType::f64 ? "float64" : "float32"},
      {gradient ? "x" : "input", how(gradient ? w.x : c.in, plan)},
      {gradient ? "gy" : "output",
       !gradient && c.non_temporal ? "staged, and stored past the caches" : how(gradient ? w.g : c.out, plan)},
      {"columns at a time", std::to_string(gradient ? w.strip : c.strip)},
      {"units of work", std::to_string(plan.units)},
      {"scratch bytes a thread", std::to_string(plan.scratch_bytes)}};
  if (gradient) text.emplace_back("parts summed apart", std::to_string(w.parts));
  return text;
}

}  // namespace depthwise
