// Plans as text, for those who ask.
#include "../plan.hpp"

namespace depthwise {
namespace {

// How a side is read or written, and why.
std::string how(const Side& s, const Plan& plan) {
  const DType sums = plan.facts.sums;
  const int64_t lane_step = plan.candidate.channel_lanes ? s.channel : s.cross;
  if (s.direct) return s.dtype == sums ? "in place" : "converted, a part at a time";
  if (s.dtype != sums) return "packed: converted to the type of the sums";
  if (lane_step != 1) return "packed: its lanes lie " + std::to_string(lane_step) + " elements apart";
  return "packed: a stride or a multiplier spreads its lanes";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> describe(const Plan& plan) {
  const bool gradient = plan.sum_products != nullptr;
  const Correlation& c = plan.correlation;
  const WeightGradient& w = plan.weight_gradient;
  const Candidate& chosen = plan.candidate;
  std::vector<std::pair<std::string, std::string>> text = {
      {"kernel", gradient ? chosen.weight_gradient.file : chosen.correlation.file},
      {"candidate", chosen.name},
      {"sums", plan.facts.sums == DType::f64 ? "float64" : "float32"},
      {gradient ? "x" : "input", how(gradient ? w.x : c.in, plan)},
      {gradient ? "gy" : "output",
       !gradient && c.non_temporal ? "staged, and stored past the caches" : how(gradient ? w.g : c.out, plan)},
      {"columns at a time", std::to_string(gradient ? w.strip : c.strip)},
      {"units of work", std::to_string(plan.units)},
      {"scratch bytes a thread", std::to_string(plan.scratch_bytes)}};
  if (gradient) text.emplace_back("parts summed apart", std::to_string(w.parts));
  return text;
}

std::vector<std::tuple<std::string, double, std::string>> describe_candidates(const Plan& plan) {
  std::vector<std::tuple<std::string, double, std::string>> all;
  for (const Candidate& c : candidates) {
    const char* misfit = why_not(c, plan.considered);
    all.emplace_back(c.name, misfit ? 0 : cycles(c, plan.considered), misfit ? misfit : "");
  }
  return all;
}

}  // namespace depthwise
