// Bits hang on the choice: it is made from the shapes and the target alone, by `fixed` numbers.
#include "candidates.hpp"

#include <algorithm>

#include "jobs.hpp"

namespace depthwise {
namespace {

// ---- What the candidates with lanes along the columns ask.

bool planes_are_converted(const Facts& f) {
  return f.planes_together && f.row_is_read_in_steps() &&
         (f.p.pass == Pass::weight_grad || f.row_is_written_in_steps());
}

bool rows_are_read_in_place(const Facts& f) {
  return !planes_are_converted(f) && f.read.dtype == f.sums && (f.read.strides[3] == 1 || f.read_width() <= 1) &&
         f.row_is_read_in_steps();
}

// ---- What those with lanes along the channels ask.

bool pixels_are_read_in_place(const Facts& f) {
  const bool gy = f.p.pass != Pass::weight_grad || (f.p.y.dtype == f.sums && f.p.y.strides[1] == 1);
  return f.read.dtype == f.sums && f.p.multiplier == 1 && f.read.strides[1] == 1 && gy;
}

bool pixels_are_dense(const Facts& f) {
  const int64_t channels = f.out_channels();
  return f.p.multiplier == 1 && f.read.strides[1] == 1 && f.read.strides[3] == channels && f.written.strides[1] == 1 &&
         f.written.strides[3] == channels;
}

bool weight_gradient_without_half_vectors(const Facts& f) { return f.p.pass == Pass::weight_grad && !f.k.half_lanes; }

// Why lanes are not to hold channels, however these are read.
const char* channels_do_not_fill(const Facts& f) {
  const int64_t channels = f.outs;
  if (f.channels_closest) return 2 * channels < f.N ? "channels fill less than half a vector" : nullptr;
  if (f.N == 1) return "one lane gains nothing from transposed planes";
  if (f.outs * f.p.h.kernel * f.p.w.kernel == 0) return "there is nothing to compute";
  if (weight_gradient_without_half_vectors(f) && 8 * channels < 5 * f.N * ceil_div(channels, f.N))
    return "channels fill less than five eighths of the vectors";
  return nullptr;
}

// ---- Costs, in multiply-adds of one vector.

double vectors_of(const Facts& f, double count) { return count / static_cast<double>(f.N); }

double products(const Facts& f) { return vectors_of(f, std::max(1.0, f.products)); }

double packing(const Facts& f) { return numbers.fixed.packing_cost * vectors_of(f, f.elements); }

// Planar memory of another dtype, or with gaps, is packed for either kind of lanes.
double unready(const Facts& f) { return f.channels_closest || rows_are_read_in_place(f) ? 0 : packing(f); }

// A planar kernel takes more than the multiply-adds of use: lanes beside the row, and those under taps beside it, are
// idle.
double idle_in_rows(const Facts& f) {
  const Problem& p = f.p;
  const int64_t outs = f.gradient ? ceil_div(p.w.size, p.w.stride) : p.w.out;
  const bool halves = f.k.half_lanes && outs <= f.k.half_lanes && f.N == f.k.lanes[0] &&
                      (p.pass != Pass::weight_grad || (p.w.stride == 1 && p.h.kernel <= 3));
  const auto lanes = static_cast<double>(halves ? f.k.half_lanes : ceil_div(outs, f.N) * f.N);
  const double phases = f.gradient ? static_cast<double>(p.w.stride) : 1;
  const double taps = static_cast<double>(p.w.kernel) / phases;
  const bool chains = p.h.size == 1 && p.h.out == 1 && outs < 8 * f.N + 2 * p.w.kernel;
  return (chains ? numbers.fixed.chains_cost : 1.0) * phases * lanes * taps / std::max(1.0, f.taps_w);
}

// The same of a weight gradient without half vectors, which takes single columns of taps at the rows' ends.
double ends_of_rows(const Facts& f) {
  const double ends = f.p.w.kernel > 1 ? numbers.fixed.row_ends_cost * static_cast<double>(f.N) /
                                             static_cast<double>(std::max<int64_t>(1, f.p.w.out))
                                       : 0;
  return 1 + ends + (f.p.w.stride > 1 ? numbers.fixed.strided_cost : 0);
}

double by_columns(const Facts& f) {
  const double idle = weight_gradient_without_half_vectors(f) ? ends_of_rows(f) : idle_in_rows(f);
  if (f.channels_closest) {
    const auto summed = static_cast<double>(f.gradient ? f.p.multiplier : 1);  // planes that are gathered for an output
    return std::max(idle, numbers.fixed.gathering_cost * summed) * products(f) + packing(f);
  }
  return idle * products(f) + unready(f);
}

// Every lane of a whole vector is of use, but all elements of planar memory are transposed.
double by_channels(const Facts& f) {
  const int64_t channels = f.out_channels();
  const double filled = static_cast<double>(channels) / static_cast<double>(f.N * ceil_div(channels, f.N));
  if (f.channels_closest) return products(f) / filled;
  if (weight_gradient_without_half_vectors(f)) return numbers.fixed.transposed_cost * products(f) + unready(f);
  const double far = f.bytes > numbers.fixed.uncached_bytes ? 2 : 1;
  const double transposing = far * numbers.fixed.transposing_cost * f.elements / std::max(1.0, f.products);
  return (1 + transposing) / filled * products(f) + unready(f);
}

// The same where what could be read in place is packed.
double packed_by_columns(const Facts& f) {
  return by_columns(f) + (!f.channels_closest && rows_are_read_in_place(f) ? packing(f) : 0);
}

double packed_by_channels(const Facts& f) { return by_channels(f) + (f.channels_closest ? packing(f) : 0); }

constexpr Task<Correlation> correlate_planar{
    .file = "correlate_planar", .kernels = &Kernels::correlate_planar, .plan = plan_planar, .walk = walk_planar};
constexpr Task<WeightGradient> weight_grad_planar{
    .file = "weight_grad_planar", .kernels = &Kernels::weight_grad_planar, .plan = plan_planar, .walk = walk_planar};
constexpr Task<Correlation> correlate_channels_last{.file = "correlate_channels_last",
                                                    .kernels = &Kernels::correlate_channels_last,
                                                    .plan = plan_channels_last,
                                                    .walk = walk_channels_last};
constexpr Task<WeightGradient> weight_grad_channels_last{.file = "weight_grad_channels_last",
                                                         .kernels = &Kernels::weight_grad_channels_last,
                                                         .plan = plan_channels_last,
                                                         .walk = walk_channels_last};

}  // namespace

const Candidate candidates[candidate_count] = {
    {.name = "planar, in place",
     .channel_lanes = false,
     .form = Form::in_place,
     .correlation = correlate_planar,
     .weight_gradient = weight_grad_planar,
     .misfit = [](const Facts& f) { return rows_are_read_in_place(f) ? nullptr : "rows cannot be read as they lie"; },
     .cost = by_columns},
    {.name = "planar, converted",
     .channel_lanes = false,
     .form = Form::converted,
     .correlation = {.file = "correlate_converted",
                     .kernels = &Kernels::correlate_converted,
                     .plan = plan_planar,
                     .walk = walk_planar},
     .weight_gradient = {.file = "weight_grad_converted",
                         .kernels = &Kernels::weight_grad_converted,
                         .plan = plan_planar,
                         .walk = walk_planar},
     .misfit = [](const Facts& f) { return planes_are_converted(f) ? nullptr : "no dense planes of another dtype"; },
     .cost = packed_by_columns},
    {.name = "planar, packed",
     .channel_lanes = false,
     .form = Form::packed,
     .correlation = correlate_planar,
     .weight_gradient = weight_grad_planar,
     .misfit = [](const Facts&) -> const char* { return nullptr; },
     .cost = packed_by_columns},
    {.name = "channels last, in place",
     .channel_lanes = true,
     .form = Form::in_place,
     .correlation = correlate_channels_last,
     .weight_gradient = weight_grad_channels_last,
     .misfit = [](const Facts& f) -> const char* {
       if (!pixels_are_read_in_place(f)) return "pixels cannot be read as they lie";
       if (pixels_crowd(f) && pixels_fit(f)) return "pixels would push one another out of the cache";
       return channels_do_not_fill(f);
     },
     .cost = by_channels},
    {.name = "channels last, converted",
     .channel_lanes = true,
     .form = Form::converted,
     .correlation = {.file = "correlate_converted",
                     .kernels = &Kernels::correlate_converted_pixels,
                     .plan = plan_channels_last,
                     .walk = walk_converted_pixels},
     .weight_gradient = {},
     .misfit = [](const Facts& f) -> const char* {
       if (!pixels_are_dense(f) || f.read.dtype == f.sums) return "no dense pixels of another dtype";
       if (!f.written_height() || converted_band_bytes(f, 1) > numbers.fixed.most_converted_bytes || !pixels_fit(f))
         return "not one row fits the cache";
       return channels_do_not_fill(f);
     },
     .cost = packed_by_channels},
    {.name = "channels last, packed",
     .channel_lanes = true,
     .form = Form::packed,
     .correlation = correlate_channels_last,
     .weight_gradient = weight_grad_channels_last,
     .misfit = [](const Facts& f) -> const char* {
       return pixels_fit(f) ? channels_do_not_fill(f) : "an output's pixels do not fit the scratch memory";
     },
     .cost = packed_by_channels}};

const char* why_not(const Candidate& c, const Facts& f) {
  if (f.p.pass == Pass::weight_grad && !c.weight_gradient.file) return "it does no weight gradients";
  return c.misfit(f);
}

double cycles(const Candidate& c, const Facts& f) {
  constexpr double multiply_adds_a_cycle = 2;
  return c.cost(f) / multiply_adds_a_cycle;
}

const Candidate& cheapest(const Facts& f) {
  const Candidate* best = nullptr;
  double least = 0;
  for (const Candidate& c : candidates) {
    if (why_not(c, f)) continue;
    const double cost = c.cost(f);
    if (best && cost >= least) continue;
    best = &c;
    least = cost;
  }
  return *best;
}

}  // namespace depthwise
