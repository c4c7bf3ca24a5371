#include "facts.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

namespace depthwise {
namespace {

// An axis that every output meets at its own place.
bool is_pointwise(const Axis& a) { return a.kernel == 1 && a.stride == 1 && a.pad == 0 && a.size == a.out; }

using SpatialAxis = Axis Problem::*;

void swap_axes(Normalised& it, SpatialAxis one, int at, SpatialAxis other, int other_at) {
  for (Problem* p : {&it.problem, &it.whole}) {
    std::swap(p->*one, p->*other);
    for (Array* a : {&p->x, &p->W, &p->y}) std::swap(a->strides[at], a->strides[other_at]);
  }
}

void swap_rows_for_columns(Normalised& it) { swap_axes(it, &Problem::h, height_axis, &Problem::w, width_axis); }

// Axes that are there go last.
void lay_down(Normalised& it) {
  if (is_lacking(it.whole.w)) swap_rows_for_columns(it);
  if (is_lacking(it.whole.h)) swap_axes(it, &Problem::d, depth_axis, &Problem::h, height_axis);
  if (is_lacking(it.whole.w)) swap_rows_for_columns(it);
}

// Whether the places of an axis lie behind one another without a gap, all those of the inner one each.
bool follow(const Problem& p, int outer, int inner, const Axis& a) {
  return p.x.strides[outer] == a.size * p.x.strides[inner] && p.y.strides[outer] == a.out * p.y.strides[inner];
}

// Planes of which no tap leaves its place: a kernel that has but a depth is one of two axes.
bool are_pixels(const Problem& p) { return !is_lacking(p.d) && is_pointwise(p.h) && is_pointwise(p.w); }

void join_planes(Problem& p) {
  p.w.size = p.w.out = p.h.size * p.w.size;
  p.h = no_axis;
}

// Of planes that each have a kernel of their own every one is an image.
void join_images(Problem& p) {
  if (is_lacking(p.d) || !is_pointwise(p.d) || !(p.batch == 1 || follow(p, 0, depth_axis, p.d))) return;
  p.batch *= p.d.size;
  for (Array* a : {&p.x, &p.y}) a->strides[0] = a->strides[depth_axis];
  p.d = no_axis;
}

// Sums of a part are formed in the order that the whole's shape asks for, wherever both lie: where the part's planes
// have gaps, every row is a plane whose rows are the depth's places. What is no part stays a volume then.
void join_axes(Normalised& it, bool is_part) {
  Problem& p = it.problem;
  const bool are_rows = are_pixels(p) && follow(p, height_axis, width_axis, p.w);
  if (is_part ? are_pixels(it.whole) : are_rows) {
    if (are_rows) join_planes(p);
    join_planes(it.whole);
    lay_down(it);
  }
  for (Problem* each : {&it.problem, &it.whole}) join_images(*each);
}

// An image of few columns is turned, rows for columns: its lanes, or the columns of its tiles, would be idle. Planar
// rows of two and more are better packed as they follow one another, but under a stride (AVX2, EPYC of the fourth
// generation, one thread, float32, 64 channels, us, as they are and turned: channels last 437x2 with 3x3 35 and 17,
// 4000x2 with 5x5 541 and 204, 200x3 17.4 and 11.9, 14x3 1.6 and 2.5; planar 64x1 7.0 and 3.9, 437x2 with stride 2 186
// and 30, with stride 1 52 and 148).
void turn_narrow(Normalised& it) {
  constexpr int64_t narrowest = 3, least_rows = 32;
  const Problem& p = it.whole;
  const int64_t columns = std::max(p.w.size, p.w.out);
  if (columns > narrowest || std::min(p.h.size, p.h.out) < least_rows) return;
  const bool planar = p.x.strides[1] != 1;
  if (planar && columns > 1 && p.w.stride == 1) return;
  swap_rows_for_columns(it);
}

// Kernels look at an output or a filter to find where its taps read: a weight gradient of no outputs is one of no
// images, an input gradient of no filters one of no taps and no rows, and without filters the other passes have no
// channels.
void take_emptiness_out(Problem& p) {
  if (p.pass == Pass::weight_grad && p.d.out * p.h.out * p.w.out == 0) {
    p.batch = 0;
    for (Axis* a : {&p.d, &p.h, &p.w}) a->out = std::max<int64_t>(1, a->out);
  }
  if (p.multiplier == 0) {
    p.multiplier = 1;
    if (p.pass == Pass::input_grad)
      p.h.kernel = p.h.out = 0;
    else
      p.channels = 0;
  }
}

double valid_taps(const Axis& a) {
  double count = 0;
  for (int64_t tap = 0; tap < a.kernel; ++tap) count += static_cast<double>(outputs_met(a, tap).count);
  return count;
}

double array_bytes(const Problem& p) {
  return static_cast<double>(p.batch * p.channels) *
         static_cast<double>(item_bytes(p.x.dtype) * p.d.size * p.h.size * p.w.size +
                             item_bytes(p.y.dtype) * p.multiplier * p.d.out * p.h.out * p.w.out);
}

int64_t planes_converted_together(const Problem& p, DType sums) {
  if (p.x.dtype == sums || p.x.strides[width_axis] != 1 || p.y.strides[width_axis] != 1) return 0;
  const bool weights = p.pass == Pass::weight_grad;
  const int64_t plane_bytes = (p.h.size * p.w.size + p.multiplier * p.h.out * p.w.out) * item_bytes(sums);
  const int64_t volume_bytes =
      (p.d.size * p.h.size * p.w.size + p.multiplier * p.d.out * p.h.out * p.w.out) * item_bytes(sums);
  const int64_t image_bytes = weights ? plane_bytes : volume_bytes;  // of what is converted as one
  if (image_bytes > numbers.fixed.most_converted_bytes) return 0;
  const int64_t cell_bytes = image_bytes * (weights ? std::max<int64_t>(1, p.batch * p.d.out) : 1);
  return std::clamp<int64_t>(numbers.fixed.converted_bytes / std::max<int64_t>(1, cell_bytes), 1,
                             std::max<int64_t>(1, p.channels));
}

bool pixels_lie_together(const Problem& p, const Array& a, bool image) {
  const int64_t sizes[array_axes] = {p.batch, image ? p.channels : p.channels * p.multiplier,
                                     image ? p.d.size : p.d.out, image ? p.h.size : p.h.out,
                                     image ? p.w.size : p.w.out};
  return channels_are_closest(a.strides, sizes);
}

// Whether an output row, or a phase of one, fits a vector of so many lanes of float32.
bool rows_fit(const Problem& p, DType sums, int64_t lanes) {
  const int64_t outs = p.pass == Pass::input_grad ? ceil_div(p.w.size, p.w.stride) : p.w.out;
  return sums == DType::f32 && outs <= lanes && (p.pass != Pass::weight_grad || (p.w.stride == 1 && p.h.kernel <= 3));
}

bool takes_pairs(const Problem& p, DType sums, int64_t planes_together) {
  return p.pass != Pass::input_grad && sums == DType::f32 && p.h.stride == 2 && p.w.stride == 2 && p.h.dilate == 1 &&
         p.w.dilate == 1 && (planes_together || (p.x.dtype == sums && (p.x.strides[width_axis] == 1 || p.w.size <= 1)));
}

}  // namespace

Facts::Facts(const Problem& problem, const Kernels& kernels, int64_t narrow)
    : p(problem),
      k(kernels),
      sums(accumulator(p)),
      wide(sums == DType::f64),
      gradient(p.pass == Pass::input_grad),
      N(k.lanes[wide]),
      item(item_bytes(sums)),
      outs(p.channels * p.multiplier),
      narrow_lanes(rows_fit(p, sums, narrow) ? narrow : 0),
      read(gradient ? p.y : p.x),
      written(gradient ? p.x : p.y),
      images(p.batch * p.d.out),
      taps_d(valid_taps(p.d)),
      taps_h(valid_taps(p.h)),
      taps_w(valid_taps(p.w)),
      products(static_cast<double>(p.batch * outs) * taps_d * taps_h * taps_w),
      bytes(array_bytes(p)),
      elements(bytes / static_cast<double>(item_bytes(p.x.dtype))),
      channels_closest(pixels_lie_together(p, read, !gradient)),
      written_closest(pixels_lie_together(p, written, gradient)),
      planes_together(planes_converted_together(p, sums)),
      pairs(takes_pairs(p, sums, planes_together)),
      planes_converted(planes_together && row_is_read_in_steps() && row_is_written_in_steps()),
      rows_in_place(!planes_converted && read.dtype == sums && (read.strides[width_axis] == 1 || read_width() <= 1) &&
                    row_is_read_in_steps()) {}

Outputs outputs_met(const Axis& a, int64_t tap) {
  const int64_t at = tap * a.dilate - a.pad;
  const int64_t first = std::clamp<int64_t>(ceil_div(-at, a.stride), 0, a.out);
  return {.first = first, .count = std::clamp<int64_t>(ceil_div(a.size - at, a.stride), first, a.out) - first};
}

bool is_lacking(const Axis& a) { return a.size == 1 && a.kernel == 1 && a.out == 1 && a.pad == 0; }

Normalised::Normalised(const Problem& asked) : problem(asked), whole(asked.whole ? *asked.whole : asked) {
  problem.whole = whole.whole = nullptr;
  for (Problem* p : {&problem, &whole}) take_emptiness_out(*p);
  lay_down(*this);
  join_axes(*this, asked.whole);
  turn_narrow(*this);
}

bool Facts::row_is_written_in_steps() const {
  return !gradient || p.w.stride == 1 || phases_met(p.w) == 0 || joins_phases();
}

bool Facts::joins_phases() const { return gradient && sums == DType::f32 && p.w.stride == 2 && phases_met(p.w) == 2; }

Side Facts::side(const Array& a, bool image, bool channel_lanes, bool direct) const {
  const int line = channel_lanes ? width_axis : height_axis, cross = channel_lanes ? height_axis : width_axis;
  const int64_t height = image ? p.h.size : p.h.out, width = image ? p.w.size : p.w.out;
  return {.data = a.data,
          .dtype = a.dtype,
          .batch = a.strides[0],
          .channel = a.strides[1],
          .line = a.strides[line],
          .cross = a.strides[cross],
          .lines = channel_lanes ? width : height,
          .cross_size = channel_lanes ? height : width,
          .depth = a.strides[depth_axis],
          .depths = image ? p.d.size : p.d.out,
          .direct = direct};
}

int64_t inputs_met(const Axis& a) { return std::min(a.size, a.out * a.kernel); }

int64_t extent(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t spread = (a.kernel - 1) * a.dilate;
  return input_grad ? (outs - 1 + spread) / a.stride + 2 : (outs - 1) * a.stride + spread + 1;
}

int64_t rows_read(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t g = std::gcd(a.stride, a.dilate), tap_step = a.stride / g;
  const int64_t taps = input_grad ? ceil_div(a.kernel, tap_step) : a.kernel;
  const int64_t residues = input_grad ? std::min<int64_t>(1, taps) : std::min(tap_step, taps);
  return residues * outs + (taps - residues) * std::min(a.dilate / g / dilation_phases(a), outs);
}

bool pixels_fit(const Facts& f) {
  const int64_t columns = std::min(extent(f.p.w, f.gradient, 1), f.read_width());
  return f.p.d.kernel * (f.gradient ? f.p.multiplier : 1) * rows_read(f.p.h, f.gradient, 1) * columns * f.N * f.item <=
         numbers.fixed.most_packed_bytes;
}

int64_t places_of_pixels(int64_t pixel_stride, int64_t item) {
  const int64_t way = numbers.fixed.way_bytes;
  return way / std::gcd(std::abs(pixel_stride) * item, way);
}

double crowding_of_pixels(const Facts& f) {
  const int64_t tile = std::min(f.written_width(), f.k.most_columns);
  const int64_t columns = std::min(f.read_width(), rows_read(f.p.w, f.gradient, tile));
  const int64_t pixels = columns * rows_read(f.p.h, f.gradient, 1) + tile;
  const int64_t places = numbers.fixed.ways * places_of_pixels(f.read.strides[width_axis], f.item);
  return static_cast<double>(pixels) / static_cast<double>(places);
}

bool sums_fit_registers(const Facts& f) {
  constexpr int64_t most_sums = 10;
  return f.p.h.kernel * f.p.w.kernel <= most_sums;
}

// A weight gradient comes back to what a block of so many columns reads: under the taps of the next row, and, where not
// all sums fit the registers, for the next ones of a band. Whether many of these lines lie in one place of a
// first-level cache's ways, and far more than in others. Rows alone that lie a power of two apart, of pixels that do
// not, are best left so (AVX2, EPYC of the fourth generation, one thread, float32, as they lie, by 32 columns, and
// copied, us: 8x256x512 with 7x7 1480 and 2240, 32x128x128 with 5x5 424 and 516; but 64x128x128 with 7x7 1951 and 1728,
// 256x28x28 with 5x5 287 and 184).
bool products_crowd(const Facts& f, int64_t columns) {
  const FixedNumbers& n = numbers.fixed;
  const Axis &h = f.p.h, &w = f.p.w;
  if (places_of_pixels(f.p.x.strides[width_axis], f.item) >= n.gradient_columns) return false;
  const bool once = sums_fit_registers(f);
  const int64_t rows = std::min(h.out, once ? 1 : n.gradient_band);
  std::vector<int> count(static_cast<size_t>(n.way_bytes / cache_line));
  int lines = 0;
  const auto add = [&](const Array& a, int64_t high, int64_t wide) {
    const int64_t row = std::abs(a.strides[height_axis]) * f.item, pixel = std::abs(a.strides[width_axis]) * f.item;
    for (int64_t i = 0; i < high; ++i)
      for (int64_t k = 0, at = i * row, last = -1; k < wide; ++k, at += pixel) {
        if (at / cache_line == last) continue;
        last = at / cache_line;
        ++count[static_cast<size_t>(last) % count.size()];
        ++lines;
      }
  };
  add(f.p.x, std::min(h.size, (rows - 1) * h.stride + h.kernel), std::min(w.size, (columns - 1) * w.stride + w.kernel));
  add(f.p.y, rows, std::min(w.out, columns));
  const int most = *std::max_element(count.begin(), count.end());
  return most > (once ? n.ways : 3 * n.ways / 2) && most * static_cast<int>(count.size()) > 2 * lines;
}

bool pixels_crowd(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  if (f.p.pass == Pass::weight_grad)
    return f.bytes > static_cast<double>(n.ways * n.way_bytes) && f.bytes <= n.uncached_bytes &&
           products_crowd(f, n.fewest_gradient_columns);
  const bool of_planes = 2 * places_of_pixels(f.read.strides[depth_axis], f.item) < f.p.d.kernel;
  return crowding_of_pixels(f) > 1 || of_planes;
}

namespace {

// How many lines, so many bytes apart, lie in one place of a first-level cache's ways at most: less than a line of the
// cache from one of them modulo 4 KiB.
int64_t lines_in_a_place(int64_t lines, int64_t bytes) {
  const int64_t way = numbers.fixed.way_bytes;
  int64_t most = 0;
  for (int64_t i = 0; i < lines; ++i) {
    int64_t count = 1;
    for (int64_t k = 0; k < lines; ++k) {
      const int64_t apart = std::abs((i - k) * bytes), beside = apart % way;
      count += apart >= way / 2 && std::min(beside, way - beside) < cache_line;
    }
    most = std::max(most, count);
  }
  return most;
}

}  // namespace

bool rows_crowd(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  const Axis& h = f.p.h;
  const int64_t g = std::gcd(h.stride, h.dilate), near = h.dilate / g, far = h.stride * near;
  const int64_t written = std::min(f.written_height(), f.k.max_lines);
  const int64_t read = std::min(f.read_height(), written + std::min(h.kernel, n.crowding_chunk) - 1);
  const int64_t read_row = f.planes_converted ? f.read_width() : f.read.strides[height_axis];
  const int64_t written_row = f.planes_converted ? f.written_width() : f.written.strides[height_axis];
  const int64_t lines = lines_in_a_place(read, (f.gradient ? near : far) * read_row * f.item) +
                        lines_in_a_place(written, (f.gradient ? far : near) * written_row * f.item);
  const double taps = static_cast<double>(f.p.d.kernel * h.kernel * f.p.w.kernel) /
                      static_cast<double>(f.p.d.stride * h.stride * f.p.w.stride);
  return static_cast<double>(lines + 1 - n.ways) * taps >=
         (f.p.pass == Pass::weight_grad ? n.crowding_products : n.crowding_rows);
}

bool pixel_rows_crowd(const Facts& f) {
  const Axis& h = f.p.h;
  const int64_t g = std::gcd(h.stride, h.dilate);
  const int64_t rows = f.gradient ? ceil_div(h.kernel, h.stride / g) : h.kernel;
  const int64_t step = f.gradient ? h.dilate / g : h.dilate;
  const int64_t met = std::min(rows, f.read_height());
  return f.p.pass != Pass::weight_grad &&
         lines_in_a_place(met, step * f.read.strides[height_axis] * f.item) > numbers.fixed.ways &&
         converted_band_bytes(f, h.kernel) <= numbers.fixed.most_converted_bytes;
}

int64_t planes_read(const Facts& f) {
  return std::clamp<int64_t>(extent(f.p.d, f.gradient, 1), 1, std::max<int64_t>(1, f.read_depth()));
}

int64_t converted_band_bytes(const Facts& f, int64_t rows) {
  const int64_t read = std::min(extent(f.p.h, f.gradient, rows), f.read_height());
  return (planes_read(f) * read * f.read_width() + rows * f.written_width()) * f.out_channels() * f.item;
}

bool channels_are_closest(const int64_t strides[array_axes], const int64_t sizes[array_axes]) {
  const int64_t c = std::abs(strides[1]);
  if (sizes[1] < 2 || c == 0) return false;
  bool one_pixel = true;
  for (int i = depth_axis; i < array_axes; ++i) {
    if (sizes[i] < 2) continue;
    if (strides[i] != 0 && std::abs(strides[i]) <= c) return false;
    one_pixel = false;
  }
  return !one_pixel;
}

}  // namespace depthwise
