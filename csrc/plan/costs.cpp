#include "costs.hpp"

#include <algorithm>

namespace depthwise {

bool weight_gradient_without_masks(const Facts& f) { return f.p.pass == Pass::weight_grad && !f.k.masks_products; }

namespace {

double packing(const Facts& f) { return numbers.fixed.packing_cost * f.elements / std::max(1.0, f.products); }

// A planar kernel takes more than the multiply-adds of use: lanes beside the row, and those under taps beside it, are
// idle.
double idle_in_rows(const Facts& f) {
  const Problem& p = f.p;
  const int64_t outs = f.gradient ? ceil_div(p.w.size, p.w.stride) : p.w.out;
  const auto lanes = static_cast<double>(f.narrow_lanes ? f.narrow_lanes : ceil_div(outs, f.N) * f.N);
  const double phases = f.gradient ? static_cast<double>(p.w.stride) : 1;
  const double taps = static_cast<double>(p.w.kernel) / phases;
  const bool alone = p.h.size == 1 && p.h.out == 1, chains = outs < 8 * f.N + 2 * p.w.kernel;
  const bool lone = f.gradient && p.w.stride > 1;
  const double stacked = p.w.stride == 1 ? numbers.fixed.stack_cost : 1;
  const double cost = !alone ? 1 : lone ? numbers.fixed.lone_cost : chains ? numbers.fixed.chains_cost : stacked;
  const double strided = f.joins_phases() ? numbers.fixed.interleaved_cost : f.pairs ? numbers.fixed.pairs_cost : 1;
  return cost * strided * phases * lanes * taps / std::max(1.0, f.taps_w);
}

// The same of a weight gradient on targets that cannot mask products at no cost: see idle_cost.
double idle_unmasked(const Facts& f) {
  const Axis& w = f.p.w;
  const int64_t taps_end = f.products > 0 ? std::min(w.kernel, (w.size - 1 + w.pad) / w.dilate + 1) : 0;
  int64_t vectors = 0;  // of which some lane meets an element under a tap
  for (int64_t k = ceil_div(std::max<int64_t>(0, w.pad - (w.out - 1) * w.stride), w.dilate); k < taps_end; ++k) {
    const int64_t at = k * w.dilate - w.pad, first = ceil_div(std::max<int64_t>(0, -at), w.stride);
    const int64_t end = std::min(w.out, (w.size - 1 - at) / w.stride + 1);
    if (first < end) vectors += (end - 1) / f.N - first / f.N + 1;
  }
  const double strided = w.stride > 1 ? numbers.fixed.strided_cost : 0;
  return strided + numbers.fixed.idle_cost * static_cast<double>(vectors * f.N) / std::max(1.0, f.taps_w);
}

}  // namespace

namespace {

bool is_one_line(const Facts& f) { return is_lacking(f.p.d) && is_lacking(f.p.h); }

double idle_by_columns(const Facts& f) {
  if (!weight_gradient_without_masks(f)) return idle_in_rows(f);
  return idle_unmasked(f) * (is_one_line(f) ? numbers.fixed.lone_cost : 1);
}

// What each row of the output of an image of one line costs beside its sums, for each multiply-add of use.
double each_row(const Facts& f, double cost) {
  const auto rows = static_cast<double>(f.out_channels()) / static_cast<double>(std::max<int64_t>(1, f.outs));
  return cost * static_cast<double>(f.N) * rows / std::max(1.0, f.taps_w);
}

// The same of what comes before its first sum where it is done by tiles.
double before_row(const Facts& f, double cost) {
  return is_one_line(f) && f.p.pass != Pass::weight_grad ? each_row(f, cost) : 0;
}

// What tiles take for an image of one line before its first row, however many there are.
double before_all(const Facts& f, double cost) {
  return is_one_line(f) && !f.channels_closest ? cost * static_cast<double>(f.N) / std::max(1.0, f.products) : 0;
}

// Elements of x or y alone that some tap meets.
double elements_of(const Facts& f, bool image) {
  const Problem& p = f.p;
  const int64_t places =
      image ? inputs_met(p.d) * inputs_met(p.h) * inputs_met(p.w) : p.multiplier * p.d.out * p.h.out * p.w.out;
  return static_cast<double>(p.batch * p.channels) * static_cast<double>(places);
}

// How often an element that is read is packed where nothing is kept for the planes that follow.
double repeats(const Facts& f) {
  const auto planes = static_cast<double>(std::max<int64_t>(1, f.gradient ? f.p.d.out : inputs_met(f.p.d)));
  return std::max(1.0, f.taps_d / planes) * static_cast<double>(f.gradient ? 1 : f.p.multiplier);
}

// Of a row that is read, in columns.
double columns_met(const Facts& f) {
  return static_cast<double>(std::max<int64_t>(1, f.gradient ? f.p.w.out : inputs_met(f.p.w)));
}

double far(const Facts& f) { return f.bytes > numbers.fixed.uncached_bytes ? 2 : 1; }

// How often an element of planes is moved that are brought into channel order: where these lie in one place of a
// first-level cache, row by row first.
double moves(const Array& planes) {
  return planes.strides[1] * item_bytes(planes.dtype) % numbers.fixed.way_bytes == 0 ? 2 : 1;
}

// Elements of planar memory that are brought into channel order, whole rows of what is read, and back. One element for
// all channels is no plane; rows of channels that feed several are copied beside one another first.
double planar_elements(const Facts& f) {
  double count = 0;
  const double copies = f.p.pass == Pass::forward && f.p.multiplier > 1 ? 2 : moves(f.read);
  if (!f.channels_closest && f.read.strides[1] != 0)
    count += copies * elements_of(f, !f.gradient) * static_cast<double>(f.read_width()) / columns_met(f) * repeats(f);
  if (!f.written_closest && f.written.strides[1] != 0) count += moves(f.written) * elements_of(f, f.gradient);
  return count;
}

// What lanes along the columns take to pack planar rows whose elements of use lie apart. A plane that is no higher than
// what is kept of it is packed once.
double rows_apart(const Facts& f) {
  const bool apart = !f.row_is_read_in_steps() || (f.read.strides[width_axis] != 1 && f.read_width() > 1);
  if (f.channels_closest || !apart) return 0;
  const FixedNumbers& n = numbers.fixed;
  const double once = far(f) * elements_of(f, !f.gradient) / std::max(1.0, f.products);
  const double element = f.row_is_read_in_steps() ? n.apart_cost / 2 : n.apart_cost;
  return (f.written_height() > 3 * f.k.max_lines ? repeats(f) : 1) * once *
         (element + n.apart_row_cost * static_cast<double>(f.N) / columns_met(f));
}

// What lanes along the columns write to pixels.
double scattered(const Facts& f) {
  if (f.p.pass == Pass::weight_grad || !f.written_closest) return 0;
  return numbers.fixed.scattering_cost * elements_of(f, f.gradient) / std::max(1.0, f.products);
}

// What lanes along the columns write to every so many columns of planar memory: an input gradient's, phase by phase.
double written_apart(const Facts& f) {
  if (f.written_closest || f.row_is_written_in_steps()) return 0;
  return numbers.fixed.written_apart_cost * elements_of(f, true) / std::max(1.0, f.products);
}

double gathered(const Facts& f, double idle) {
  if (!f.channels_closest) return idle + rows_apart(f) + scattered(f) + written_apart(f);
  const auto summed = static_cast<double>(f.gradient ? f.p.multiplier : 1);  // planes that are gathered for an output
  const double rows = numbers.fixed.apart_row_cost * static_cast<double>(f.N) / columns_met(f);
  return std::max(idle, numbers.fixed.gathering_cost * summed) + packing(f) +
         rows * elements_of(f, !f.gradient) / std::max(1.0, f.products);
}

// What each plane costs beside its sums, for each multiply-add of use: most of what the smallest take.
double each_plane(const Facts& f) {
  if (is_one_line(f) || f.p.pass == Pass::weight_grad) return 0;
  const auto planes = static_cast<double>(f.images * f.outs);
  return numbers.fixed.plane_cost * static_cast<double>(f.N) * planes / std::max(1.0, f.products);
}

}  // namespace

double by_columns(const Facts& f) {
  return gathered(f, idle_by_columns(f)) + each_plane(f) + before_row(f, numbers.fixed.row_cost) +
         before_all(f, numbers.fixed.first_row_cost);
}

namespace {

double filled_by_channels(const Facts& f) {
  const int64_t channels = f.out_channels();
  return static_cast<double>(channels) / static_cast<double>(f.N * ceil_div(channels, f.N));
}

}  // namespace

double by_channels(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  const double filled = filled_by_channels(f);
  const bool products = f.p.pass == Pass::weight_grad, transposed_line = is_one_line(f) && !f.channels_closest;
  const double block_cost = weight_gradient_without_masks(f) ? n.transposing_products_cost : n.transposing_cost;
  const double most_blocks = products ? 4 : 3,
               blocks = std::clamp(static_cast<double>(f.N * f.item) / 16, 2.0, most_blocks);
  const double transposing = far(f) * block_cost * blocks * planar_elements(f) / std::max(1.0, f.products);
  if (weight_gradient_without_masks(f) && !transposed_line)
    return f.channels_closest ? 1 / filled : n.transposed_cost + transposing;
  const double before = f.channels_closest ? 0 : before_row(f, n.line_cost) / static_cast<double>(f.N);
  const double rows = products && transposed_line ? each_row(f, n.transposed_row_cost) : before;
  const bool listed = !products && transposed_line && f.p.w.size + f.p.w.out > n.widest_shared_line;
  const double sums = listed ? n.listed_line_cost : products && transposed_line ? n.transposed_sums_cost : 1;
  return (sums + transposing + rows) / filled + before_all(f, n.first_pixel_cost);
}

namespace {

// What the columns of a line are copied apart for where outputs read a stride apart, and put together where they are
// written so.
double columns_apart(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  if (f.p.w.stride == 1) return 0;
  const auto vectors = static_cast<double>(ceil_div(f.p.w.size, f.N));
  if (f.gradient)
    return each_row(f, n.apart_line_cost / 2 + vectors * (f.p.w.stride == 2 ? n.apart_vector_cost : n.scattered_cost));
  const double vector = f.p.w.stride <= 4 ? n.apart_vector_cost : 12 * n.apart_vector_cost;
  return each_row(f, n.apart_line_cost + vectors * vector) / static_cast<double>(f.p.multiplier);
}

}  // namespace

double by_columns_of_line(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  const bool products = f.p.pass == Pass::weight_grad;
  const int64_t outs = f.gradient ? ceil_div(f.p.w.size, f.p.w.stride) : f.p.w.out;
  const auto lanes = static_cast<double>(ceil_div(outs, f.N) * f.N * f.p.w.kernel);
  const int64_t phases = f.gradient ? f.p.w.stride : 1;
  const int64_t taps = ceil_div(f.p.w.kernel, phases) * (f.gradient ? f.p.multiplier : 1);
  const double row = products ? n.few_taps_cost + n.ends_cost * static_cast<double>(f.p.w.kernel)
                              : static_cast<double>(phases) * (taps <= few_taps ? n.few_taps_cost : n.many_taps_cost);
  const double sums = lanes / std::max(1.0, f.taps_w) + each_row(f, row);
  if (f.channels_closest) return gathered(f, sums) + columns_apart(f);
  return sums + scattered(f) + (f.p.w.stride == 1 ? rows_apart(f) : columns_apart(f));
}

double by_channels_of_line(const Facts& f) {
  // Those kernels copy lines that crowd, where they are too many for a cache anyway.
  const bool crowds = 2 * crowding_of_pixels(f) > 1 && f.bytes > numbers.fixed.most_converted_bytes;
  const double sums = f.p.pass == Pass::weight_grad || crowds ? 1 : numbers.fixed.pixel_line_cost;
  return sums / filled_by_channels(f);
}

double packed_by_columns(const Facts& f) {
  return gathered(f, idle_by_columns(f)) + each_plane(f) + before_row(f, numbers.fixed.line_cost) +
         before_all(f, numbers.fixed.first_row_cost) + (!f.channels_closest && f.rows_in_place ? packing(f) : 0);
}

double packed_by_channels(const Facts& f) { return by_channels(f) + (f.channels_closest ? packing(f) : 0); }

double packed_by_all(const Facts& f) { return f.channels_closest || f.rows_in_place ? 0 : packing(f); }

}  // namespace depthwise
