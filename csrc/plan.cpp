// The numbers that steer the kernels. Each stands here with what it was measured on.
#include "plan.hpp"

#include <algorithm>
#include <cstdlib>

#include "parallel.hpp"

namespace depthwise {
namespace {

// Packed rows of a unit stay in the first-level cache's neighbourhood.
constexpr int64_t packed_bytes = 96 << 10;
// Columns of a row that are taken at once where nothing is packed: ten rows of them fit 48 KiB.
constexpr int64_t direct_strip = 1024;
// Output rows that share their input rows while these are in the first-level cache.
constexpr int64_t band_rows = 4;
// A second thread costs a few microseconds; below this much work one is faster.
constexpr double serial_flop = 4e5;

double valid_taps(const Axis& a) {
  double count = 0;
  for (int64_t p = 0; p < a.kernel; ++p) {
    // Outputs i with 0 <= i * stride + p * dilate - pad < size.
    const int64_t first = std::max<int64_t>(0, ceil_div(a.pad - p * a.dilate, a.stride));
    const int64_t end = std::min(a.out, ceil_div(a.size + a.pad - p * a.dilate, a.stride));
    count += static_cast<double>(std::max<int64_t>(0, end - first));
  }
  return count;
}

Side side(const Array& a, int64_t height, int64_t width, bool channel_lanes) {
  const int line = channel_lanes ? 3 : 2, offset = channel_lanes ? 2 : 3;
  return {a.data,           a.dtype,
          a.strides[0],     a.strides[1],
          a.strides[line],  a.strides[offset],
          channel_lanes ? width : height, channel_lanes ? height : width,
          false};
}

bool lanes_along_channels(const Problem& p, const Kernels& k, DType sums) {
  const Array& in = p.pass == Pass::input_grad ? p.y : p.x;
  const int64_t h = p.pass == Pass::input_grad ? p.h.out : p.h.size, w = p.pass == Pass::input_grad ? p.w.out : p.w.size;
  const int64_t channels = p.pass == Pass::input_grad ? p.channels * p.multiplier : p.channels;
  return channels_are_closest(in.strides, channels, h, w) && 2 * p.channels * p.multiplier >= k.lanes[sums == DType::f64];
}

std::string why_packed(const Side& s, DType sums, int64_t lane_step, bool stepped) {
  if (s.direct) return "in place";
  if (s.dtype != sums) return "packed: converted to the sums' type";
  if (lane_step != 1) return "packed: its lanes are " + std::to_string(lane_step) + " elements apart";
  return stepped ? "packed: strided outputs or inputs are gathered into lanes" : "packed";
}

}  // namespace

bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width) {
  const int64_t c = std::abs(strides[1]);
  if (channels < 2 || c == 0) return false;
  if (height < 2 && width < 2) return false;
  return (height < 2 || c < std::abs(strides[2])) && (width < 2 || c < std::abs(strides[3]));
}

Plan::Plan(const Problem& p, const Target& target, int most_threads)
    : sums(accumulator(p)),
      lattice([&]() -> Lattice {
        const bool channel_lanes = lanes_along_channels(p, *target.kernels, sums);
        return Lattice(p.pass, channel_lanes ? p.w : p.h, channel_lanes ? p.h : p.w, target.kernels->max_lines);
      }()) {
  const Kernels& k = *target.kernels;
  const bool gradient = p.pass == Pass::input_grad, channel_lanes = lanes_along_channels(p, k, sums);
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  job = {};
  const Side x = side(p.x, p.h.size, p.w.size, channel_lanes), y = side(p.y, p.h.out, p.w.out, channel_lanes);
  job.in = gradient ? y : x;
  job.out = gradient ? x : y;
  job.W = p.W.data;
  job.W_dtype = p.W.dtype;
  job.W_multiplier = p.W.strides[0];
  job.W_channel = p.W.strides[1];
  job.W_line = p.W.strides[channel_lanes ? 3 : 2];
  job.W_offset = p.W.strides[channel_lanes ? 2 : 3];
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
  const int64_t rows = job.out.offsets, out_step = lat.offset_classes ? lat.offsets[0].out_step : 1;

  if (channel_lanes) {
    code = &k.correlate_channels_last[sums == DType::f64];
    job.in.direct = job.in.dtype == sums && job.in.channel == 1 && job.divide == 1 && job.sum == 1;
    job.out.direct = job.out.dtype == sums && (job.out.channel == 1 || job.out_channels == 1);
    const Axis& along = p.w;
    const Axis& across = p.h;
    // Rows of the input between the first and the last tap of one output, and columns that a strip can meet.
    const int64_t span = gradient ? (across.kernel - 1) * across.dilate / across.stride + 2
                                  : (across.kernel - 1) * across.dilate + 1;
    const auto columns = [&](int64_t strip) {
      const int64_t reach = (along.kernel - 1) * along.dilate;
      const int64_t met = gradient ? (strip - 1 + reach) / along.stride + 2 : (strip - 1) * along.stride + reach + 1;
      return std::clamp<int64_t>(met, 0, job.in.lines);
    };
    job.ring_by_tap = span > 4 * across.kernel + 8;
    job.ring = std::max<int64_t>(1, job.ring_by_tap ? across.kernel : span);
    job.strip = std::max<int64_t>(1, job.out.lines);
    if (!job.in.direct)
      while (job.strip > 4 * k.max_lines && job.sum * job.ring * columns(job.strip) * N * item > packed_bytes)
        job.strip = ceil_div(job.strip, 2);
    job.columns_packed = columns(job.strip);
    job.strips = ceil_div(job.out.lines, job.strip);
    const int64_t class_rows = ceil_div(rows, out_step), vectors = ceil_div(job.out_channels, N);
    job.band = std::max<int64_t>(1, job.in.direct ? std::min(band_rows, class_rows) : std::min<int64_t>(32, class_rows));
    job.bands = ceil_div(class_rows, job.band);
    const int64_t units = job.batch * job.strips * lat.offset_classes * job.bands;
    const int64_t wanted = most_threads > 1 && units ? ceil_div(4 * most_threads, units) : 1;
    job.group = std::max<int64_t>(1, ceil_div(vectors, wanted));
    job.groups = ceil_div(vectors, job.group);
    job.units = units * job.groups;
  } else {
    code = &k.correlate_planar[sums == DType::f64];
    job.in.direct = job.in.dtype == sums && (job.in.offset == 1 || job.in.offsets <= 1) && lat.offset_in_step == 1;
    job.out.direct = job.out.dtype == sums && (job.out.offset == 1 || job.out.offsets <= 1) && out_step == 1;
    job.ring = lat.max_part_taps + k.max_lines - 1;
    const int64_t width = std::max<int64_t>(1, ceil_div(job.out.offsets, out_step));
    job.strip = ceil_div(std::min(width, direct_strip), N) * N;
    if (!job.in.direct) {
      const int64_t row_item = job.sum * lat.max_parts * job.ring * lat.offset_in_step * item;
      while (job.strip > 8 * N && job.strip * row_item > packed_bytes) job.strip = ceil_div(job.strip / 2, N) * N;
    }
    job.strips = ceil_div(width, job.strip);
    job.units = job.batch * job.out_channels * job.strips * lat.line_tiles;
  }
  const int64_t images = p.batch * p.channels * p.multiplier;
  flop = 2.0 * static_cast<double>(images) * valid_taps(p.h) * valid_taps(p.w);
  bytes = static_cast<double>(item_bytes(p.x.dtype)) * static_cast<double>(p.batch * p.channels * p.h.size * p.w.size) +
          static_cast<double>(item_bytes(p.y.dtype)) * static_cast<double>(images * p.h.out * p.w.out);
  threads = flop < serial_flop || forked_after_parallel()
                ? 1
                : static_cast<int>(std::min<int64_t>(most_threads, std::max<int64_t>(1, job.units)));
  scratch_bytes = job.units ? code->scratch_bytes(job) : 0;
  kernel = channel_lanes ? "correlate_channels_last" : "correlate_planar";
  const bool stepped = lat.offset_in_step != 1 || out_step != 1 || job.divide != 1 || job.sum != 1;
  input = why_packed(job.in, sums, channel_lanes ? job.in.channel : job.in.offset, stepped);
  output = why_packed(job.out, sums, channel_lanes ? job.out.channel : job.out.offset, stepped);
}

void execute(const Plan& plan) {
  struct Call {
    const CorrelationKernel* code;
    const Correlation* job;
  } call{plan.code, &plan.job};
  parallel_for(
      plan.job.units, plan.threads, plan.scratch_bytes,
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& call = *static_cast<const Call*>(c);
        call.code->run(*call.job, begin, end, scratch);
      },
      &call);
}

std::vector<std::pair<std::string, std::string>> describe(const Plan& plan) {
  const Correlation& j = plan.job;
  return {{"kernel", plan.kernel},
          {"sums", plan.sums == DType::f64 ? "float64" : "float32"},
          {"input", plan.input},
          {"output", plan.output},
          {"strip", std::to_string(j.strip)},
          {"band", std::to_string(j.band)},
          {"units", std::to_string(j.units)},
          {"scratch_bytes", std::to_string(plan.scratch_bytes)}};
}

}  // namespace depthwise
