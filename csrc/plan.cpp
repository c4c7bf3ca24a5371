// The numbers that steer the kernels. Each stands here with what it was measured on.
#include "plan.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace depthwise {
namespace {

// Packed rows of a unit stay in the first-level cache's neighbourhood.
constexpr int64_t packed_bytes = 192 << 10;
// What a thread may take at most beyond the output and the weights is 1 MiB. Of that, this is for packed pixels, and
// this for all that a planar kernel keeps.
constexpr int64_t most_packed_bytes = 640 << 10, most_scratch_bytes = 960 << 10;
// Columns of a row that are taken at once where nothing is packed: ten rows of them fit 48 KiB.
constexpr int64_t direct_strip = 1024, staged_strip = 256;
// What one tile of columns and its weights may take for all channels before it is done for one vector of channels after
// another: then what the next row needs again is still in the first-level cache.
constexpr int64_t first_cache_bytes = 32 << 10;
// But not where a large image streams by and there is little to do for each pixel: slices of pixels are poor traffic
// (AVX-512, Xeon of the fourth generation, 32x240x28x28 with 5x5: 6.2 ms by pixels, 8.6 by rows; 32x96x56x56 with 7x7:
// 20 by pixels, 12.8 by rows), nor where pixels lie a power of two apart: slices of them fill but a few places of the
// cache (AVX-512, EPYC of the fifth generation: input gradient of 256x28x28 with 3x3, stride 2, 58 us by rows, 28 by
// pixels).
constexpr double second_cache_bytes = 2 << 20;
constexpr int64_t many_taps = 25;
// Pixels a power of two apart are copied together for a kernel of so many taps (AVX-512, EPYC of the fifth generation,
// one thread: 128x56x56 with 31x31 4.9 ms as they lie and 3.1 copied, 1024x7x7 with 13x13 144 us and 73; but 512x56x56
// with 3x3 0.56 ms and 0.93, 32x384x14x14 with 7x7 1.8 and 2.1).
constexpr int64_t crowding_taps = 64, few_places = 8, ways = 8, way_bytes = 4096;
// Planes of another dtype are converted together while they stay in the second-level cache.
constexpr int64_t converted_bytes = 128 << 10, most_converted_bytes = 512 << 10;
// Output rows that share their input rows while these are in the first-level cache. Arrays that no cache holds are
// walked row by row, as they lie, if the second-level cache holds the rows that the next one needs again (AVX2, EPYC of
// the second generation, one thread: 16x32x112x112 with 3x3 8.0 ms in bands of 16 rows, 5.0 in rows; AVX-512, EPYC of
// the fifth: 32x96x56x56 with 7x7 12.4 and 7.2, but 1x96x202x201 with 9x1 1.5 and 2.0).
constexpr int64_t band_rows = 16;
constexpr double last_cache_bytes = 20 << 20;
constexpr int64_t window_bytes = 512 << 10;
// Fetching ahead costs a fifth where a cache holds the arrays (AVX-512, EPYC of the fourth generation, one thread,
// channels last, 3x3: 128x56x56 101 us with and 82 without, 512x56x56 844 and 702; but 88x128x256 1.2 ms and 2.1).
constexpr double fetched_bytes = 14 << 20;
// Where planes are taken apart into bands and strips to be packed for channel lanes: rows are cut last, since eight or
// sixteen short pieces of rows are poor traffic (AVX2, EPYC of the second generation, 3x3 on 128x256 planes: 10.6 ms in
// strips of 32 columns, 5.5 in whole rows).
constexpr int64_t least_band = 8, least_strip = 32, wide_strip = 256;
// On targets that cannot mask products, a planar weight gradient is transposed for channel lanes where rows are no
// longer than this and than eight vectors, or strided: at the rows' ends they take one column of taps at a time (AVX2,
// EPYC of the second generation, one thread, 3x3: 512x14x14 216 us by columns, 103 by channels; 128x56x56 350 and 287).
constexpr int64_t transposed_width = 64;
// What it costs to bring an element of planar memory into channel order, or back, in multiply-adds (AVX-512, EPYC of
// the fourth generation, one thread: 512x14x14 with 3x3 36 us in channel order, 23 by columns; with 27x27 430 and 950;
// 384x14x14 with 7x7 67 and 73; 960x7x7 with 5x5 30 and 28). Twice as much where no cache holds the arrays
// (32x384x14x14 with 7x7: 3.5 ms and 2.4).
constexpr double transposing_cost = 5;
// Outputs that no cache holds are staged by the tile and stored past the caches where a plane, or a pixel, is so large
// and so small (AVX-512, EPYC of the fourth generation, one thread, 3x3: 88x128x256 1.6 ms into the caches and 0.8 past
// them, 64x300x300 channels last 3.5 and 1.9; but 512x56x56, which a cache holds, 0.35 and 0.60).
constexpr int64_t least_staged_bytes = 8 << 10, widest_staged_bytes = 4 << 10;
// Rows of gy that one part of a weight gradient takes at a time, and the shares of work that there are at least where
// the problem has them: fixed, because the order of summation hangs on them.
constexpr int64_t gradient_band = 8, gradient_units = 16;
// Additions into one lane between two moments at which it may be emptied; sums.hpp empties it before there are more.
constexpr int64_t steps_kept = 512;
// A band of channels-last images that a second-level cache holds is walked for one vector of channels after another;
// then neighbouring tiles find their common columns in the first (AVX-512, EPYC of the fifth generation, one thread:
// 32x240x28x28 with 5x5 5.4 and 3.8 ms, 32x96x56x56 with 7x7 10.1 and 7.9). Where it does not, slices of pixels are
// poor traffic (1x32x257x257 with 3x3: 0.39 ms by tiles, 0.51 by vectors).
constexpr int64_t band_bytes = 1 << 20;
// A channels-last weight gradient is walked row by row, the next row being fetched meanwhile, where a vector of
// channels after another would be slices of far memory (AVX-512, EPYC of the fourth generation, one thread, 3x3, before
// and after: 88x128x256 2.5 and 1.5 ms, 16x128x56x56 5.4 and 3.8, 32x257x257 0.98 and 0.60).
constexpr double sliced_bytes = 8 << 20;
// Running sums of one unit of a weight gradient.
constexpr int64_t sums_bytes = 24 << 10;
// A second thread costs a few microseconds; below this much work one is faster.
constexpr double serial_flop = 4e5;

// The outputs that have each tap inside the image, summed over the taps.
double valid_taps(const Axis& a) {
  double count = 0;
  for (int64_t p = 0; p < a.kernel; ++p) {
    const int64_t first = std::max<int64_t>(0, ceil_div(a.pad - p * a.dilate, a.stride));
    const int64_t end = std::min(a.out, ceil_div(a.size + a.pad - p * a.dilate, a.stride));
    count += static_cast<double>(std::max<int64_t>(0, end - first));
  }
  return count;
}

double array_bytes(const Problem& p) {
  return static_cast<double>(p.batch * p.channels) *
         static_cast<double>(item_bytes(p.x.dtype) * p.h.size * p.w.size +
                             item_bytes(p.y.dtype) * p.multiplier * p.h.out * p.w.out);
}

// Input rows or columns between the first and the last that `outs` neighbouring outputs read.
int64_t reach(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t spread = (a.kernel - 1) * a.dilate;
  return input_grad ? (outs - 1 + spread) / a.stride + 2 : (outs - 1) * a.stride + spread + 1;
}

// Input rows that `outs` neighbouring output rows of a class read: those of taps of one residue overlap.
int64_t rows_read(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t g = std::gcd(a.stride, a.dilate), tap_step = a.stride / g;
  const int64_t taps = input_grad ? ceil_div(a.kernel, tap_step) : a.kernel;
  const int64_t residues = input_grad ? std::min<int64_t>(1, taps) : std::min(tap_step, taps);
  return residues * outs + (taps - residues) * std::min(a.dilate / g / dilation_classes(a), outs);
}

// Makes bands and strips smaller until what they pack fits.
template <class Measure>
void shrink(int64_t& band, int64_t& strip, Measure measure) {
  struct Step {
    int64_t *size, least, bytes;
  };
  for (const auto& [size, least, bytes] : {Step{&band, 2 * least_band, packed_bytes},
                                           {&strip, wide_strip, packed_bytes},
                                           {&band, least_band, packed_bytes},
                                           {&strip, least_strip, packed_bytes},
                                           {&band, 1, most_packed_bytes},
                                           {&strip, 1, most_packed_bytes}})
    while (measure() > bytes && *size > least) *size = std::max(least, ceil_div(*size, 2));
}

// Whether pixels can be packed for lanes of channels: the columns between the first and the last that an output reads
// may be too many, where those that it does read are few.
bool pixels_fit(const Problem& p, int64_t lane_bytes) {
  const bool gradient = p.pass == Pass::input_grad;
  const int64_t columns = std::min(reach(p.w, gradient, 1), gradient ? p.w.out : p.w.size);
  return (gradient ? p.multiplier : 1) * rows_read(p.h, gradient, 1) * columns * lane_bytes <= most_packed_bytes;
}

// Makes what a planar kernel keeps of packed rows smaller until its scratch memory fits. `lay_out` lays rows of another
// strip out; `packed_sum` is the planes of a sum that are packed together. What grows with the kernel alone is not
// counted.
template <class Job, class LayOut>
int64_t fit_scratch(Job& job, const Kernel<Job>& kernel, const Kernels& k, int64_t item, int64_t& packed_sum,
                    const LayOut& lay_out) {
  const LatticeView& lat = job.lattice;
  const int64_t N = k.lanes[item == 8];
  const int64_t least_ring = std::min(job.ring, lat.max_part_taps + (k.max_lines - 1) * lat.lines_per_out);
  const int64_t kernel_bytes = 3 * N * item * job.kernel_lines * job.kernel_offsets;
  for (;;) {
    lay_out();
    const int64_t bytes = kernel.scratch_bytes(job);
    if (bytes <= most_scratch_bytes + kernel_bytes) return bytes;
    if (job.ring > least_ring)
      job.ring = least_ring;
    else if (packed_sum > 1)
      packed_sum = 1;
    else if (job.strip > N)
      job.strip = ceil_div(job.strip / 2, N) * N;
    else
      return bytes;
  }
}

Side side(const Array& a, int64_t height, int64_t width, bool channel_lanes) {
  const int line = channel_lanes ? 3 : 2, offset = channel_lanes ? 2 : 3;
  return {a.data,
          a.dtype,
          a.strides[0],
          a.strides[1],
          a.strides[line],
          a.strides[offset],
          channel_lanes ? width : height,
          channel_lanes ? height : width,
          false};
}

// What a correlation with lanes along the columns takes for a multiply-add of use: lanes beside the row, and those
// under taps beside it, are idle.
double cost_by_columns(const Problem& p, const Kernels& k, int64_t N) {
  const bool gradient = p.pass == Pass::input_grad;
  const int64_t outs = gradient ? ceil_div(p.w.size, p.w.stride) : p.w.out;
  const int64_t lanes = k.half_lanes && outs <= k.half_lanes && N == k.lanes[0] &&
                                (p.pass != Pass::weight_grad || (p.w.stride == 1 && p.h.kernel <= 3))
                            ? k.half_lanes
                            : ceil_div(outs, N) * N;
  const double taps = static_cast<double>(p.w.kernel) / (gradient ? static_cast<double>(p.w.stride) : 1.0);
  const double rows = gradient ? static_cast<double>(p.w.stride) : 1.0;
  // A single row is summed by chains of one vector where taps reach beside it.
  const bool chains = p.h.size == 1 && p.h.out == 1 && outs < 8 * N + 2 * p.w.kernel;
  return (chains ? 2.5 : 1.0) * rows * static_cast<double>(lanes) * taps / std::max(1.0, valid_taps(p.w));
}

// The same with lanes along the channels where memory is planar: every lane is of use, but all elements are transposed.
double cost_by_channels(const Problem& p, int64_t N) {
  const int64_t outs = p.pass == Pass::input_grad ? p.channels : p.channels * p.multiplier;
  const double filled = static_cast<double>(outs) / static_cast<double>(N * ceil_div(outs, N));
  const double products = static_cast<double>(p.batch * p.channels * p.multiplier) * valid_taps(p.h) * valid_taps(p.w);
  const double elements = array_bytes(p) / static_cast<double>(item_bytes(p.x.dtype));
  const double each = array_bytes(p) > last_cache_bytes ? 2 * transposing_cost : transposing_cost;
  return (1 + each * elements / std::max(1.0, products)) / filled;
}

// Channels whose planes of another dtype are converted together: none where a plane is too large for the cache, or has
// gaps in its rows. A weight gradient takes those of all images, if it can.
int64_t cells_converted(const Problem& p, DType sums) {
  if (p.x.dtype == sums) return 0;
  for (const Array* a : {&p.x, &p.y})
    if (a->strides[3] != 1) return 0;
  const int64_t image_bytes = (p.h.size * p.w.size + p.multiplier * p.h.out * p.w.out) * item_bytes(sums);
  if (image_bytes > most_converted_bytes) return 0;
  const int64_t cell_bytes = image_bytes * (p.pass == Pass::weight_grad ? std::max<int64_t>(1, p.batch) : 1);
  return std::clamp<int64_t>(converted_bytes / std::max<int64_t>(1, cell_bytes), 1, std::max<int64_t>(1, p.channels));
}

bool lanes_along_channels(const Problem& p, const Kernels& k, DType sums) {
  const bool gradient = p.pass == Pass::input_grad;
  const Array& in = gradient ? p.y : p.x;
  const int64_t N = k.lanes[sums == DType::f64];
  const int64_t outs = p.channels * p.multiplier, channels = gradient ? outs : p.channels;
  const bool ready = in.dtype == sums && p.multiplier == 1 && in.strides[1] == 1 &&
                     (p.pass != Pass::weight_grad || (p.y.dtype == sums && p.y.strides[1] == 1));
  if (!ready && !pixels_fit(p, N * item_bytes(sums))) return false;
  if (channels_are_closest(in.strides, channels, gradient ? p.h.out : p.h.size, gradient ? p.w.out : p.w.size))
    return 2 * outs >= N;
  if (N == 1 || p.h.kernel * p.w.kernel == 0) return false;
  if (p.pass != Pass::weight_grad || k.half_lanes) return cost_by_channels(p, N) < cost_by_columns(p, k, N);
  const bool wide = p.pass == Pass::weight_grad && array_bytes(p) > last_cache_bytes;
  const int64_t widest = wide ? 8 * N : std::min(8 * N, transposed_width);
  const bool filled = 8 * outs >= 5 * N * ceil_div(outs, N);
  if (!filled || (p.w.stride == 1 && p.w.kernel == 1)) return false;
  return p.w.stride > 1 || p.w.out <= widest;
}

// Whether a stride of two is taken by loads of every other element, from every other row.
bool takes_pairs(const Problem& p, DType sums) {
  return p.pass != Pass::input_grad && sums == DType::f32 && p.h.stride == 2 && p.w.stride == 2 && p.h.dilate == 1 &&
         p.w.dilate == 1 && (cells_converted(p, sums) || (p.x.dtype == sums && (p.x.strides[3] == 1 || p.w.size <= 1)));
}

// An image one column wide is taken as one row: lanes and tiles then run along its length.
Problem lying(Problem p) {
  if (p.w.size != 1 || p.w.kernel != 1 || p.w.out != 1) return p;
  std::swap(p.h, p.w);
  for (Array* a : {&p.x, &p.W, &p.y}) std::swap(a->strides[2], a->strides[3]);
  return p;
}

// The same problem in words that kernels understand, who look at an output or a filter to find where its taps read: a
// weight gradient of no outputs is one of no images, an input gradient of no filters one of no taps and no rows.
Problem without_emptiness(Problem p) {
  if (p.pass == Pass::weight_grad && p.h.out * p.w.out == 0) {
    p.batch = 0;
    for (Axis* a : {&p.h, &p.w}) a->out = std::max<int64_t>(1, a->out);
  }
  if (p.pass == Pass::input_grad && p.multiplier == 0) {
    p.multiplier = 1;
    p.h.kernel = p.h.out = 0;
  }
  return p;
}

// Places modulo 4 KiB, in a first-level cache, that one vector of channels of all pixels of a row takes at most.
int64_t places_of_pixels(const Side& s, int64_t item) {
  return way_bytes / std::gcd(std::abs(s.line) * item, way_bytes);
}

// Whether a large kernel's pixels fall into so few places modulo 4 KiB that they push one another out of a first-level
// cache of 8 or 12 ways.
bool crowds(const Side& s, const Problem& p, int64_t item, int64_t most_lines) {
  const int64_t pixels = (std::min(s.lines, most_lines) + p.w.kernel - 1) * p.h.kernel;
  return p.h.kernel * p.w.kernel > crowding_taps && pixels > ways * places_of_pixels(s, item);
}

// Output rows of channels-last memory of another dtype that are converted together; 0 where not even one fits.
int64_t rows_converted(const Problem& p, const Correlation& job, int64_t out_step, int64_t item) {
  const auto band_bytes = [&](int64_t rows) {
    const int64_t read = std::min(reach(p.h, p.pass == Pass::input_grad, rows), job.in.offsets);
    return (read * job.in.lines + rows * job.out.lines) * job.out_channels * item;
  };
  int64_t rows = std::min(job.out.offsets, band_rows * out_step);
  while (rows > 1 && band_bytes(rows) > most_converted_bytes) rows = ceil_div(rows, 2);
  return band_bytes(rows) > most_converted_bytes ? 0 : rows;
}

std::string how(const Side& s, DType sums, int64_t lane_step) {
  if (s.direct) return s.dtype == sums ? "in place" : "converted, a part at a time";
  if (s.dtype != sums) return "packed: converted to the type of the sums";
  if (lane_step != 1) return "packed: its lanes lie " + std::to_string(lane_step) + " elements apart";
  return "packed: a stride or a multiplier spreads its lanes";
}

}  // namespace

bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width) {
  const int64_t c = std::abs(strides[1]);
  if (channels < 2 || c == 0) return false;
  if (height < 2 && width < 2) return false;
  const auto further = [&](int64_t stride) { return stride == 0 || c < std::abs(stride); };
  return (height < 2 || further(strides[2])) && (width < 2 || further(strides[3]));
}

Plan::Plan(const Problem& p, const Target& target, int most_threads)
    : Plan(target, most_threads, lying(without_emptiness(p))) {}

Plan::Plan(const Target& target, int most_threads, const Problem& p)
    : pass(p.pass),
      kernels(target.kernels),
      sums(accumulator(p)),
      gx(p.x),
      gW(p.W),
      gb(p.b),
      gx_shape{p.batch, p.channels, p.h.size, p.w.size},
      kernel_h(p.h.kernel),
      kernel_w(p.w.kernel),
      channel_lanes(lanes_along_channels(p, *target.kernels, sums)),
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

// Rows that are read in place are packed, as they lie, where whole vectors would reach beside the array.
template <class Job>
void Plan::lay_rows_out(Job& job, bool in_place, const Kernels& k, int64_t lanes) {
  if (in_place && !k.masks_products) return;
  rows = RowLayout(job.lattice, job.strip, lanes, in_place);
  job.rows = rows.view();
}

void Plan::plan_correlation(const Problem& p, const Kernels& k, int most_threads) {
  const bool gradient = pass == Pass::input_grad;
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  Correlation& job = correlation = {};
  const Side x = side(p.x, p.h.size, p.w.size, channel_lanes), y = side(p.y, p.h.out, p.w.out, channel_lanes);
  job.in = gradient ? y : x;
  job.out = gradient ? x : y;
  job.W = p.W.data;
  job.W_dtype = p.W.dtype;
  job.W_multiplier = p.W.strides[0];
  job.W_channel = p.W.strides[1];
  job.W_line = p.W.strides[channel_lanes ? 3 : 2];
  job.W_offset = p.W.strides[channel_lanes ? 2 : 3];
  if (p.channels * p.multiplier * p.h.kernel * p.w.kernel == 0) {
    // Kernels load weights for outputs that no tap meets, too: where there are none, one stands for all.
    static const double no_weight = 0;
    job.W = &no_weight;
    job.W_dtype = DType::f64;
    job.W_multiplier = job.W_channel = job.W_line = job.W_offset = 0;
  }
  job.kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel;
  job.kernel_offsets = channel_lanes ? p.h.kernel : p.w.kernel;
  job.b = p.b.data;
  job.b_dtype = p.b.dtype;
  job.b_stride = p.b.strides[0];
  job.batch = p.batch;
  job.out_channels = gradient ? p.channels : p.channels * p.multiplier;
  job.divide = gradient ? 1 : p.multiplier;
  job.sum = gradient ? p.multiplier : 1;
  job.lattice = lattice.view();
  const LatticeView& lat = job.lattice;
  const int64_t out_step = lat.offset_classes ? lat.offsets[0].out_step : 1;
  const int64_t class_outs = ceil_div(job.out.offsets, out_step);
  const bool one_class = lat.line_classes == 1 && lat.lines[0].out_step == 1;  // a tile's lines are neighbours

  if (channel_lanes) {
    kernel = "correlate_channels_last";
    correlate = &k.correlate_channels_last[sums == DType::f64];
    job.in.direct = job.in.dtype == sums && job.in.channel == 1 && job.divide == 1 && job.sum == 1 &&
                    !(crowds(job.in, p, item, k.max_lines) && pixels_fit(p, N * item));
    job.out.direct = job.out.dtype == sums && (job.out.channel == 1 || job.out_channels == 1);
    job.strip = std::max<int64_t>(1, job.out.lines);
    job.band = std::max<int64_t>(1, job.out.offsets);
    const bool whole_pixels = job.in.channel == 1 && job.in.line == job.out_channels && job.out.channel == 1 &&
                              job.out.line == job.out_channels && job.divide == 1 && job.sum == 1;
    const int64_t band_converted = whole_pixels && job.in.dtype != sums ? rows_converted(p, job, out_step, item) : 0;
    if (band_converted) {
      kernel = "correlate_converted";
      correlate = &k.correlate_converted_pixels[sums == DType::f64];
      job.in.direct = job.out.direct = true;
      const int64_t bands_wanted = most_threads > 1 ? ceil_div(4 * most_threads, std::max<int64_t>(1, p.batch)) : 1;
      job.band = std::clamp<int64_t>(ceil_div(job.out.offsets, bands_wanted), 1, band_converted);
      job.rows_packed = std::clamp<int64_t>(reach(p.h, gradient, job.band), 1, std::max<int64_t>(1, job.in.offsets));
    } else if (job.in.direct && job.out.direct) {
      const int64_t window = reach(p.h, gradient, 1) * job.in.lines * job.out_channels * item;
      job.streams = bytes > last_cache_bytes && window <= window_bytes;
      const int64_t units_wanted = most_threads > 1 ? 4 * most_threads : 1;
      const int64_t rows = job.streams ? 1 : std::clamp<int64_t>(p.batch * class_outs / units_wanted, 1, band_rows);
      job.band = std::min(job.band, rows * out_step);
    } else {
      const auto measure = [&] {
        job.rows_packed = rows_read(p.h, gradient, ceil_div(job.band, out_step));
        job.columns_packed = std::clamp<int64_t>(reach(p.w, gradient, job.strip), 0, job.in.lines);
        return ((job.in.direct ? 0 : job.sum * job.rows_packed * job.columns_packed) +
                (job.out.direct ? 0 : job.band * job.strip)) *
               N * item;
      };
      shrink(job.band, job.strip, measure);
    }
    job.fetches = bytes > fetched_bytes && (job.in.direct || job.out.direct) && !band_converted;
    job.strips = ceil_div(job.out.lines, job.strip);
    job.bands = ceil_div(job.out.offsets, job.band);
    const int64_t pixel = (k.max_lines + p.w.kernel - 1) * p.h.kernel + p.h.kernel * p.w.kernel;
    job.rows_innermost = pixel * job.out_channels * item > first_cache_bytes &&
                         !(job.in.direct && places_of_pixels(job.in, item) < few_places) &&
                         (p.h.kernel * p.w.kernel > many_taps || bytes < second_cache_bytes);
    const int64_t vectors = ceil_div(job.out_channels, N);
    const int64_t units_of_all = job.batch * job.strips * job.bands;
    const int64_t wanted =
        most_threads > 1 && units_of_all && !band_converted ? ceil_div(4 * most_threads, units_of_all) : 1;
    job.group = std::max<int64_t>(1, ceil_div(vectors, wanted));
    job.groups = ceil_div(vectors, job.group);
    job.past_caches = job.streams && one_class && job.groups == 1 && job.in.line == job.out_channels &&
                      job.out.line == job.out_channels && job.out_channels * item <= widest_staged_bytes;
    if (job.past_caches) job.rows_innermost = false;
    job.units = units_of_all * job.groups;
  } else {
    kernel = "correlate_planar";
    correlate = &k.correlate_planar[sums == DType::f64];
    job.joined = sums == DType::f32 && out_step == 2 && lat.offset_classes == 2;
    const bool in_fits = lat.offset_in_step == 1 || lat.lines_per_out == 2, out_fits = out_step == 1 || job.joined;
    if (in_fits && out_fits) job.cells = cells_converted(p, sums);
    job.in.direct = job.cells || (job.in.dtype == sums && (job.in.offset == 1 || job.in.offsets <= 1) && in_fits);
    job.out.direct = job.cells || (job.out.dtype == sums && (job.out.offset == 1 || job.out.offsets <= 1) && out_fits);
    const bool one_row = job.in.lines == 1 && job.out.lines == 1;
    job.ring = one_row ? 1 : lat.max_part_taps + 3 * k.max_lines;  // so that the window seldom has to slide
    const int64_t widest = !job.out.direct ? staged_strip : one_row ? k.max_lines * direct_strip : direct_strip;
    job.strip = ceil_div(std::clamp<int64_t>(class_outs, 1, widest), N) * N;
    const bool dense = job.in.line == job.in.offsets && job.out.line == job.out.offsets;
    if (bytes > second_cache_bytes && job.in.direct && job.out.direct && !job.cells && dense && job.out.lines &&
        job.out.offsets)
      job.fetch_bytes = std::max<int64_t>(1, job.in.lines / job.out.lines) *
                        std::max<int64_t>(1, job.in.offsets / job.out.offsets) * N * item;
    if (!job.in.direct) {
      const int64_t residues = std::min(lat.offset_in_step, std::max<int64_t>(1, job.kernel_offsets));
      const int64_t column_bytes = job.sum * lat.max_parts * job.ring * residues * item;
      while (job.strip > 8 * N && job.strip * column_bytes > packed_bytes) job.strip = ceil_div(job.strip / 2, N) * N;
    }
    if (job.cells) {
      kernel = "correlate_converted";
      correlate = &k.correlate_converted[sums == DType::f64];
    }
    job.packed_sum = job.sum;
    scratch_bytes =
        fit_scratch(job, *correlate, k, item, job.packed_sum, [&] { lay_rows_out(job, job.in.direct, k, N); });
    job.strips = ceil_div(class_outs, job.strip);
    const int64_t plane_bytes = job.out.offsets * job.out.lines * item;
    if (job.fetch_bytes && bytes > last_cache_bytes && job.strips == 1 && one_class &&
        plane_bytes >= least_staged_bytes) {
      job.past_caches = true;
      job.out.direct = false;
    }
    job.units = job.batch * job.out_channels * job.strips * lat.line_tiles;
    if (job.cells) job.units = job.batch * (job.out_channels / std::max<int64_t>(1, job.divide));
  }
  units = job.units;
  if (!scratch_bytes || job.past_caches) scratch_bytes = correlate->scratch_bytes(job);
  // Kernels that write to a stage of their own clear that.
  clears = !lat.covers && !job.cells && (!channel_lanes || job.out.direct);
  input = how(job.in, sums, channel_lanes ? job.in.channel : job.in.offset);
  output = how(job.out, sums, channel_lanes ? job.out.channel : job.out.offset);
}

void Plan::plan_weight_gradient(const Problem& p, const Kernels& k) {
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  WeightGradient& job = weight_gradient = {};
  job.x = side(p.x, p.h.size, p.w.size, channel_lanes);
  job.g = side(p.y, p.h.out, p.w.out, channel_lanes);
  job.kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel;
  job.kernel_offsets = channel_lanes ? p.h.kernel : p.w.kernel;
  job.sum_line = channel_lanes ? 1 : p.w.kernel;
  job.sum_offset = channel_lanes ? p.w.kernel : 1;
  job.batch = p.batch;
  job.out_channels = p.channels * p.multiplier;
  job.divide = p.multiplier;
  job.lattice = lattice.view();
  const LatticeView& lat = job.lattice;
  const int64_t rows = p.h.out, taps = p.h.kernel * p.w.kernel;
  // Rows of one class lie out_step apart: a band has as many of each as if there were but one.
  const int64_t out_step = channel_lanes ? (lat.offset_classes ? lat.offsets[0].out_step : 1)
                                         : (lat.line_classes ? lat.lines[0].out_step : 1);
  job.band = std::clamp<int64_t>(rows, 1, (channel_lanes ? 2 : 1) * gradient_band * out_step);

  if (channel_lanes) {
    kernel = "weight_grad_channels_last";
    sum_products = &k.weight_grad_channels_last[sums == DType::f64];
    // One vector of channels is packed at a time, so both sides are or neither is.
    job.x.direct = job.g.direct = job.x.dtype == sums && job.x.channel == 1 && job.divide == 1 && job.g.dtype == sums &&
                                  job.g.channel == 1 &&
                                  !(crowds(job.x, p, item, k.max_lines) && pixels_fit(p, N * item));
    job.strip = std::clamp<int64_t>(job.g.lines, 1, steps_kept);
    if (!job.x.direct) {
      const auto measure = [&] {
        job.rows_packed = rows_read(p.h, false, ceil_div(job.band, out_step));
        job.columns_packed = std::clamp<int64_t>(reach(p.w, false, job.strip), 0, job.x.lines);
        return (job.rows_packed * job.columns_packed + job.band * job.strip) * N * item;
      };
      shrink(job.band, job.strip, measure);
    }
    const int64_t band_pixels = reach(p.h, false, job.band) * p.w.size + job.band * p.w.out;
    job.vectors_outermost = band_pixels * job.out_channels * item <= band_bytes && bytes <= sliced_bytes;
    const int64_t window = (reach(p.h, false, 1) * p.w.size + p.w.out) * job.out_channels * item;
    job.row_by_row = job.x.direct && !job.vectors_outermost && window <= window_bytes;
    if (job.row_by_row) job.band = std::clamp<int64_t>(rows, 1, gradient_band * out_step);
    job.bands = ceil_div(rows, job.band);
    const int64_t vectors = ceil_div(job.out_channels, N);
    const int64_t fit = std::max<int64_t>(1, sums_bytes / std::max<int64_t>(1, taps * N * item));
    const int64_t wanted = job.row_by_row || job.batch * job.bands >= gradient_units ? 1 : gradient_units;
    job.group = std::min(fit, std::max<int64_t>(1, ceil_div(vectors, wanted)));
    job.groups = ceil_div(vectors, job.group);
  } else {
    kernel = "weight_grad_planar";
    sum_products = &k.weight_grad_planar[sums == DType::f64];
    const bool in_fits = lat.offset_in_step == 1 || lat.lines_per_out == 2;
    if (in_fits) job.cells = cells_converted(p, sums);
    job.x.direct = job.cells || (job.x.dtype == sums && (job.x.offset == 1 || job.x.offsets <= 1) && in_fits);
    const bool dense = job.x.line == job.x.offsets && job.g.line == job.g.offsets;
    job.fetches = bytes > second_cache_bytes && dense && lat.line_classes == 1 && !job.cells;
    job.g.direct = job.cells || (job.g.dtype == sums && (job.g.offset == 1 || job.g.offsets <= 1));
    job.ring = lat.max_part_taps + 3 * k.max_lines;  // so that the window seldom has to slide
    job.strip = ceil_div(std::clamp<int64_t>(p.w.out, 1, std::min(direct_strip, steps_kept / k.max_lines * N)), N) * N;
    if (!job.x.direct) {
      const int64_t residues = std::min(lat.offset_in_step, std::max<int64_t>(1, job.kernel_offsets));
      const int64_t column_bytes = lat.max_parts * job.ring * residues * item;
      while (job.strip > 8 * N && job.strip * column_bytes > packed_bytes) job.strip = ceil_div(job.strip / 2, N) * N;
    }
    job.groups = job.out_channels;
    job.bands = ceil_div(rows, job.band);
    if (job.cells) {
      kernel = "weight_grad_converted";
      sum_products = &k.weight_grad_converted[sums == DType::f64];
      job.groups = p.channels;
    }
  }
  // What the parts are made of: bands, or images where planes are converted, as many as stay in the cache.
  const int64_t cells = job.batch * (job.cells ? 1 : job.bands);
  const int64_t converted =
      job.cells ? job.batch * (job.x.lines * job.x.offsets + p.multiplier * job.g.lines * job.g.offsets) * item : 0;
  const int64_t least_parts =
      std::max(ceil_div(gradient_units, std::max<int64_t>(1, job.groups)), ceil_div(converted, most_converted_bytes));
  job.parts = job.groups && cells ? std::clamp<int64_t>(least_parts, 1, cells) : 1;
  const bool taps_together =
      (p.w.kernel == 1 || gW.strides[3] == 1) && (p.h.kernel == 1 || gW.strides[2] == p.w.kernel);
  const bool placed = !channel_lanes || p.multiplier == 1;
  job.gW = job.parts == 1 && !job.cells && placed && gW.dtype == sums && taps_together ? gW.data : nullptr;
  job.gW_multiplier = gW.strides[0];
  job.gW_channel = gW.strides[1];
  units = job.units = job.groups * job.parts;
  int64_t packed_sum = 1;
  scratch_bytes = channel_lanes ? sum_products->scratch_bytes(job)
                                : fit_scratch(job, *sum_products, k, item, packed_sum,
                                              [&] { lay_rows_out(job, job.x.direct, k, N); });
  input = how(job.x, sums, channel_lanes ? job.x.channel : job.x.offset);
  output = how(job.g, sums, channel_lanes ? job.g.channel : job.g.offset);
}

std::vector<std::pair<std::string, std::string>> describe(const Plan& plan) {
  const bool gradient = plan.pass == Pass::weight_grad;
  const Correlation& c = plan.correlation;
  const WeightGradient& w = plan.weight_gradient;
  std::vector<std::pair<std::string, std::string>> text = {
      {"kernel", plan.kernel},
      {"sums", plan.sums == DType::f64 ? "float64" : "float32"},
      {gradient ? "x" : "input", plan.input},
      {gradient ? "gy" : "output", plan.output},
      {"columns at a time", std::to_string(gradient ? w.strip : c.strip)},
      {"units of work", std::to_string(plan.units)},
      {"scratch bytes a thread", std::to_string(plan.scratch_bytes)}};
  if (gradient) text.emplace_back("parts summed apart", std::to_string(w.parts));
  return text;
}

}  // namespace depthwise
