// BITS HANG ON THE CHOICE: it is made from the shapes and the target alone, by fixed numbers.
#include "candidates.hpp"

#include <algorithm>
#include <numeric>

#include "costs.hpp"
#include "jobs.hpp"

namespace depthwise {
namespace {

// Whether a channel that feeds several is brought into their lanes as it is read, or their gradients are added where
// these stand in lanes of their own.
bool multipliers_take_lanes(const Facts& f) {
  const int64_t block = f.k.spread_block[f.wide];
  if (f.gradient && f.k.most_columns * f.outs * f.item > numbers.fixed.packed_bytes) return false;  // of a tile
  return f.p.pass != Pass::weight_grad && block && f.p.channels >= block && f.written.dtype == f.sums &&
         f.written.strides[1] == 1;
}

bool pixels_are_read_in_place(const Facts& f) {
  const bool gy = f.p.pass != Pass::weight_grad || (f.p.y.dtype == f.sums && f.p.y.strides[1] == 1);
  return f.read.dtype == f.sums && (f.p.multiplier == 1 || multipliers_take_lanes(f)) && f.read.strides[1] == 1 && gy;
}

bool pixels_are_dense(const Facts& f) {
  const int64_t channels = f.out_channels();
  return f.p.multiplier == 1 && f.read.strides[1] == 1 && f.read.strides[width_axis] == channels &&
         f.written.strides[1] == 1 && f.written.strides[width_axis] == channels;
}

bool rows_of_pixels_fit(const Facts& f) {
  return f.written_height() && converted_band_bytes(f, 1) <= numbers.fixed.most_converted_bytes && pixels_fit(f);
}

// Whether pixels are packed though they could be read in place: those of a large kernel, and a weight gradient's.
bool pixels_are_packed(const Facts& f) {
  const int64_t taps = f.p.d.kernel * f.p.h.kernel * f.p.w.kernel;
  return pixels_crowd(f) && pixels_fit(f) && (f.p.pass == Pass::weight_grad || taps > numbers.fixed.crowding_taps);
}

// Where a line of the cache is more than a vector, crowding pixels push it out before its other vectors are asked for.
// Two vectors at once mend that, too (`paired` in plan/walk.cpp), for kernels of few columns; a copy is better than
// they where it stays in a second-level cache and is read again and again.
bool crowding_pixels_are_copied(const Facts& f) {
  if (f.N * f.item >= cache_line || crowding_of_pixels(f) <= numbers.fixed.most_crowding) return false;
  const int64_t apart = f.p.w.stride / std::gcd(f.p.w.stride, f.p.w.dilate);
  const bool paired = f.k.has_pairs && ceil_div(f.p.w.kernel, apart) <= f.k.most_paired_taps;
  return !paired || (f.p.w.stride == 1 && f.bytes <= numbers.fixed.least_paired_bytes);
}

// Whether they are converted though they have the sums' type, since they crowd.
bool rows_of_pixels_are_copied(const Facts& f) {
  return f.p.pass != Pass::weight_grad && pixels_are_dense(f) && rows_of_pixels_fit(f) &&
         (pixel_rows_crowd(f) || crowding_pixels_are_copied(f));
}

// Why lanes are not to hold channels, however these are read.
const char* channels_do_not_fill(const Facts& f) {
  const int64_t channels = f.outs;
  if (f.channels_closest) return 4 * channels < f.N ? "channels fill less than a quarter of a vector" : nullptr;
  if (f.N == 1) return "one lane gains nothing from transposed planes";
  if (f.outs * f.p.d.kernel * f.p.h.kernel * f.p.w.kernel == 0) return "there is nothing to compute";
  if (weight_gradient_without_masks(f) && 8 * channels < 5 * f.N * ceil_div(channels, f.N))
    return "channels fill less than five eighths of the vectors";
  return nullptr;
}

// What the kernels of one line do not do.
const char* not_a_sequence(const Facts& f, bool lanes_of_channels) {
  if (!is_lacking(f.p.d) || !is_lacking(f.p.h)) return "an image has more than one line";
  if (f.p.w.stride > (lanes_of_channels ? 1 : numbers.fixed.widest_stride)) return "outputs are a stride apart";
  const int64_t widest = numbers.fixed.widest_window;
  if ((f.p.w.kernel - 1) * f.p.w.dilate > widest) return "taps lie too far apart";
  if (f.p.pass == Pass::weight_grad && !lanes_of_channels && 4 * f.p.w.kernel > widest) return "taps are too many";
  return nullptr;
}

// Planar rows must not be read or written as they lie.
const char* crowding_rows(const Facts& f) {
  return rows_crowd(f) ? "rows would push one another out of the cache" : nullptr;
}

const char* none(const Facts&) { return nullptr; }

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
    {.name = "planar, one line",
     .channel_lanes = false,
     .form = Form::one_line,
     .correlation = {.file = "correlate_sequence",
                     .kernels = &Kernels::correlate_sequence,
                     .plan = plan_sequence,
                     .walk = walk_sequence},
     .weight_gradient = {.file = "weight_grad_sequence",
                         .kernels = &Kernels::weight_grad_sequence,
                         .plan = plan_sequence,
                         .walk = walk_sequence},
     .misfit = [](const Facts& f) -> const char* { return not_a_sequence(f, false); },
     .unwise = none,
     .cost = by_columns_of_line},
    {.name = "channels last, one line",
     .channel_lanes = true,
     .form = Form::one_line,
     .correlation = {.file = "correlate_sequence_pixels",
                     .kernels = &Kernels::correlate_sequence_pixels,
                     .plan = plan_sequence_pixels,
                     .walk = walk_sequence_pixels},
     .weight_gradient = {.file = "weight_grad_sequence_pixels",
                         .kernels = &Kernels::weight_grad_sequence_pixels,
                         .plan = plan_sequence_pixels,
                         .walk = walk_sequence},
     .misfit = [](const Facts& f) -> const char* {
       if (f.p.multiplier != 1 || f.read.strides[1] != 1 || f.written.strides[1] != 1)
         return "channels are not neighbours";
       if (f.read.dtype != f.written.dtype || (f.wide && f.read.dtype != DType::f64)) return "dtypes differ";
       if (f.outs < f.N) return "channels fill no vector";
       return not_a_sequence(f, true);
     },
     .unwise = none,
     .cost = by_channels_of_line},
    {.name = "planar, in place",
     .channel_lanes = false,
     .form = Form::in_place,
     .correlation = correlate_planar,
     .weight_gradient = weight_grad_planar,
     .misfit = [](const Facts& f) { return f.rows_in_place ? nullptr : "rows cannot be read as they lie"; },
     .unwise = crowding_rows,
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
     .misfit = [](const Facts& f) { return f.planes_converted ? nullptr : "no dense planes of another dtype"; },
     .unwise = crowding_rows,
     .cost = packed_by_columns},
    {.name = "planar, packed",
     .channel_lanes = false,
     .form = Form::packed,
     .correlation = correlate_planar,
     .weight_gradient = weight_grad_planar,
     .misfit = none,
     .unwise = none,
     .cost = packed_by_columns},
    {.name = "channels last, in place",
     .channel_lanes = true,
     .form = Form::in_place,
     .correlation = correlate_channels_last,
     .weight_gradient = weight_grad_channels_last,
     .misfit =
         [](const Facts& f) { return pixels_are_read_in_place(f) ? nullptr : "pixels cannot be read as they lie"; },
     .unwise = [](const Facts& f) -> const char* {
       if (pixels_are_packed(f)) return "pixels would push one another out of the cache";
       if (rows_of_pixels_are_copied(f)) return "rows would push one another out of the cache";
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
       if (!pixels_are_dense(f)) return "no dense pixels of another dtype";
       return rows_of_pixels_fit(f) ? nullptr : "not one row fits the cache";
     },
     .unwise = [](const Facts& f) -> const char* {
       if (f.read.dtype == f.sums && !rows_of_pixels_are_copied(f)) return "no dense pixels of another dtype";
       return channels_do_not_fill(f);
     },
     .cost = packed_by_channels},
    {.name = "channels last, packed",
     .channel_lanes = true,
     .form = Form::packed,
     .correlation = correlate_channels_last,
     .weight_gradient = weight_grad_channels_last,
     .misfit =
         [](const Facts& f) { return pixels_fit(f) ? nullptr : "an output's pixels do not fit the scratch memory"; },
     .unwise = channels_do_not_fill,
     .cost = packed_by_channels}};

const char* why_not(const Candidate& c, const Facts& f) {
  if (f.p.pass == Pass::weight_grad && !c.weight_gradient.file) return "it does no weight gradients";
  const char* misfit = c.misfit(f);
  return misfit ? misfit : c.unwise(f);
}

// A multiply-add of a vector takes the kernels a cycle or two, loads and all.
double cycles(const Candidate& c, const Facts& f) {
  return (c.cost(f) + packed_by_all(f)) * std::max(1.0, f.products) / static_cast<double>(f.N);
}

namespace {

// Whether the planes that an input gradient's channel is summed over each have a lane.
bool folds(const Candidate& c, const Facts& f) {
  return f.gradient && f.p.multiplier > 1 && c.channel_lanes && c.form == Form::in_place;
}

// The cheapest that fits and that `counts`, or null.
template <class Counts>
const Candidate* cheapest_that(const Facts& f, const Counts& counts) {
  const Candidate* best = nullptr;
  double least = 0;
  for (const Candidate& c : candidates) {
    // Beside one that reads as memory lies, copies with the same lanes only add to its cost.
    const bool copies = c.form == Form::packed || c.form == Form::converted;
    if (best && best->form == Form::in_place && best->channel_lanes == c.channel_lanes && copies) continue;
    if (!counts(c) || why_not(c, f)) continue;
    const double cost = c.cost(f);
    if (best && cost >= least) continue;
    best = &c;
    least = cost;
  }
  return best;
}

}  // namespace

const Candidate& cheapest(const Facts& f) {
  return *cheapest_that(f, [](const Candidate&) { return true; });
}

const Candidate& cheapest_like(const Candidate& other, const Facts& f) {
  if (!other.misfit(f)) return other;
  // Else one whose tiles run along the same axis: bits may differ by how taps are cut into chunks, or planes folded.
  const Candidate* like = cheapest_that(
      f, [&](const Candidate& c) { return c.channel_lanes == other.channel_lanes && folds(c, f) == folds(other, f); });
  return like ? *like : cheapest(f);
}

}  // namespace depthwise
