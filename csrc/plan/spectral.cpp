#include "spectral.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <mutex>
#include <numbers>
#include <vector>

#include "candidates.hpp"
#include "jobs.hpp"

namespace depthwise {
namespace {

constexpr int64_t most_places = 256;
constexpr const char* way = "Fourier transforms";

// How often each radix is a transform's; none where its length has another factor.
constexpr int radices[] = {4, 5, 3, 2};
constexpr int radix_count = 4;
struct Factors {
  int times[radix_count];
  bool complete;
};
constexpr Factors factors_of(int64_t places) {
  Factors found{};
  for (int i = 0; i < radix_count; ++i)
    for (; places % radices[i] == 0; places /= radices[i]) ++found.times[i];
  found.complete = places == 1;
  return found;
}
constexpr auto factors = [] {
  std::array<Factors, most_places + 1> all{};
  for (int64_t places = 1; places <= most_places; ++places) all[static_cast<size_t>(places)] = factors_of(places);
  return all;
}();

// The factors of each pass, in the type of the sums: for every group the powers 1 to radix - 1 of its root of unity.
template <class E>
struct Roots {
  std::vector<int> radix;
  std::vector<std::vector<E>> of_passes;

  explicit Roots(int64_t places) {
    const Factors& f = factors[static_cast<size_t>(places)];
    for (int i = 0; i < radix_count; ++i) radix.insert(radix.end(), static_cast<size_t>(f.times[i]), radices[i]);
    for (const int r : radix) {
      std::vector<E> of_pass;
      for (int64_t group = 0; group < places / r; ++group)
        for (int64_t power = 1; power < r; ++power) {
          const double turn = -2 * std::numbers::pi * static_cast<double>(group * power) / static_cast<double>(places);
          of_pass.push_back(static_cast<E>(std::cos(turn)));
          of_pass.push_back(static_cast<E>(std::sin(turn)));
        }
      of_passes.push_back(std::move(of_pass));
      places /= r;
    }
  }
};

// Made once, and kept: all of them are but some hundred kilobytes.
template <class E>
const Roots<E>& roots_of(int64_t places) {
  static std::mutex mutex;
  static std::array<std::unique_ptr<Roots<E>>, most_places + 1> all;
  const std::lock_guard lock(mutex);
  auto& one = all[static_cast<size_t>(places)];
  if (!one) one = std::make_unique<Roots<E>>(places);
  return *one;
}

template <class E>
void set_roots(FourierAxis& axis) {
  const Roots<E>& roots = roots_of<E>(axis.size);
  axis.passes = static_cast<int64_t>(roots.radix.size());
  for (size_t i = 0; i < roots.radix.size(); ++i) {
    axis.radix[i] = roots.radix[i];
    axis.roots[i] = roots.of_passes[i].data();
  }
}

// An axis of a problem, without size and tiles.
FourierAxis axis_of(const Axis& a, bool gradient) {
  FourierAxis f{.outs = gradient ? a.size : a.out,
                .out_step = gradient ? 1 : a.stride,
                .first = -a.pad,
                .ins = gradient ? a.out : a.size,
                .in_step = gradient ? a.stride : 1,
                .taps = a.kernel,
                .tap_step = gradient ? -a.dilate : a.dilate};
  // A filter is turned round where gradients run back through it.
  if (gradient) f.first = a.pad - (f.tap_extent() - 1), f.tap_first = f.tap_extent() - 1;
  return f;
}

// Places that the circle of a tile has at least: what wraps around must meet zeros or go to no output.
int64_t places_needed(const FourierAxis& a, int64_t begin, int64_t end) {
  const int64_t first = begin * a.out_step + a.first, last = (end - 1) * a.out_step + a.first;
  const int64_t extent = a.tap_extent();
  const int64_t in_begin = std::max<int64_t>(0, ceil_div(first, a.in_step));
  const int64_t in_last = std::min(a.ins - 1, -ceil_div(-(last + extent - 1), a.in_step));
  const int64_t least = std::max(extent, last - first + 1);
  if (in_begin > in_last) return least;
  return std::max({least, in_last * a.in_step + 1 - first, last + extent - in_begin * a.in_step});
}

// Multiply-adds of vectors that a transform takes.
double transform_cost(int64_t places) {
  const FixedNumbers& n = numbers.fixed;
  const Factors& f = factors[static_cast<size_t>(places)];
  const double each[radix_count] = {n.radix_4_cost, n.radix_5_cost, n.radix_3_cost, n.radix_2_cost};
  double cost = 0;
  for (int i = 0; i < radix_count; ++i) cost += f.times[i] * each[i];
  return static_cast<double>(places) * cost;
}

// Ways to cut an axis into tiles: for each number of tiles the cheapest circle, and of these the few that take least.
class Circles {
 public:
  explicit Circles(FourierAxis axis) {
    const int64_t extent = axis.tap_extent(), whole = places_needed(axis, 0, axis.outs);
    for (axis.size = extent; axis.size <= most_places; ++axis.size) {
      if (!factors[static_cast<size_t>(axis.size)].complete) continue;
      axis.tile = axis.outs;
      axis.tiles = 1;
      if (axis.size < whole) {
        // Tiles begin at the same place between two inputs.
        const int64_t room = ((axis.size - extent) / axis.out_step + 1) / axis.in_step * axis.in_step;
        if (room < 1) continue;
        axis.tile = ceil_div(ceil_div(axis.outs, ceil_div(axis.outs, room)), axis.in_step) * axis.in_step;
        axis.tiles = ceil_div(axis.outs, axis.tile);
      }
      add(axis);
      // Larger ones only take longer.
      if (axis.tiles == 1 && axis.size > 2 * whole) break;
    }
  }
  const FourierAxis* begin() const { return found_.data(); }
  const FourierAxis* end() const { return found_.data() + count_; }

 private:
  static double cost(const FourierAxis& a) { return static_cast<double>(a.tiles) * transform_cost(a.size); }
  void add(const FourierAxis& axis) {
    int at = 0;
    while (at < count_ && found_[static_cast<size_t>(at)].tiles != axis.tiles) ++at;
    if (at < count_) {
      if (cost(axis) < cost(found_[static_cast<size_t>(at)])) found_[static_cast<size_t>(at)] = axis;
    } else if (count_ < most) {
      found_[static_cast<size_t>(count_++)] = axis;
    } else {
      FourierAxis* worst = std::max_element(found_.data(), found_.data() + count_,
                                            [](const auto& a, const auto& b) { return cost(a) < cost(b); });
      if (cost(axis) < cost(*worst)) *worst = axis;
    }
  }

  static constexpr int most = 6;
  std::array<FourierAxis, most> found_;
  int count_ = 0;
};

int64_t inputs_of_tile(const FourierAxis& a) {
  return std::min(a.ins, ceil_div((a.tile - 1) * a.out_step + a.tap_extent(), a.in_step));
}

struct Cost {
  double all, filters;
  int64_t bytes;  // of scratch memory, about
};

Cost cost_of(const Spectral& job, bool weights, int64_t N, int64_t item) {
  const FourierAxis &h = job.h, &w = job.w;
  const double row = transform_cost(w.size), columns = transform_cost(h.size) * static_cast<double>(w.size / 2 + 1);
  // Rows are transformed by pairs.
  const auto plane = [&](int64_t rows) {
    return static_cast<double>(ceil_div(rows, 2)) * row + columns +
           static_cast<double>(rows) * numbers.fixed.plane_row_cost;
  };
  const double in = plane(inputs_of_tile(h)), out = plane(h.tile), filter = plane(h.taps);
  const auto m = static_cast<double>(job.multiplier), cells = static_cast<double>(job.cells);
  const double cell = weights ? m * (in + out) : job.adds ? m * in + out : in + m * out;
  const double filters = m * filter * static_cast<double>(weights ? job.parts : 1);
  const int64_t planes = weights ? 3 : job.multiplier + (job.multiplier > 1 ? 2 : 1);
  return {.all = numbers.fixed.first_transform_cost + static_cast<double>(job.filters) * (filters + cells * cell),
          .filters = static_cast<double>(job.filters) * filters,
          .bytes = planes * h.size * (w.size / 2 + 1) * 2 * N * item};
}

// Lanes hold channels, or tiles of one.
void deal(Spectral& job, bool tiles, bool weights, int64_t N) {
  job.lanes_of_tiles = tiles;
  const int64_t all = job.batch * job.h.tiles * job.w.tiles;
  job.filters = tiles ? job.channels : ceil_div(job.channels, N);
  job.cells = tiles ? ceil_div(all, N) : all;
  const int64_t sets = job.filters * job.multiplier;
  job.parts = weights ? std::clamp<int64_t>(numbers.fixed.gradient_units / sets, 1, job.cells) : 1;
  job.units = weights ? sets * job.parts : job.filters * job.cells;
}

const char* why_not(const Facts& f) {
  const Problem& p = f.p;
  if (!is_lacking(p.d)) return "volumes are not done so";
  if (f.products == 0) return "there is nothing to compute";
  for (const Axis* a : {&p.h, &p.w})
    if ((a->kernel - 1) * a->dilate + 1 > most_places) return "a kernel is wider than the largest transform";
  return nullptr;
}

}  // namespace

SpectralPlan::SpectralPlan(const Problem& asked, const Target& target, int most_threads)
    : problem(Normalised(asked).problem),
      facts(problem, *target.kernels, target.narrow ? target.narrow->lanes[0] : 0),
      misfit(why_not(facts)) {
  const Facts& f = facts;
  const Problem& p = problem;
  if (misfit) return;
  const bool weights = p.pass == Pass::weight_grad;
  const Side x = f.side(p.x, true, true, false), y = f.side(p.y, false, true, false);
  Spectral each{.in = f.gradient ? y : x,
                .out = f.gradient ? x : y,
                .W = p.W.data,
                .W_dtype = p.W.dtype,
                .W_multiplier = p.W.strides[0],
                .W_channel = p.W.strides[1],
                .W_h = p.W.strides[height_axis],
                .W_w = p.W.strides[width_axis],
                .b = p.pass == Pass::forward ? p.b.data : nullptr,
                .b_dtype = p.b.dtype,
                .b_stride = p.b.strides[0],
                .batch = p.batch,
                .channels = p.channels,
                .multiplier = p.multiplier,
                .adds = f.gradient,
                .activation = p.activation};
  misfit = "no tiles fit the transforms and the scratch memory";
  const Circles heights(axis_of(p.h, f.gradient)), widths(axis_of(p.w, f.gradient));
  for (const FourierAxis& h : heights)
    for (const FourierAxis& w : widths)
      for (const bool tiles : {false, true}) {
        each.h = h;
        each.w = w;
        deal(each, tiles, weights, f.N);
        const Cost cost = cost_of(each, weights, f.N, f.item);
        if (cost.bytes > numbers.fixed.most_spectral_bytes || (!misfit && cost.all >= cycles)) continue;
        misfit = nullptr;
        cycles = cost.all;
        cycles_of_filters = cost.filters;
        job = each;
      }
  if (misfit) return;
  for (FourierAxis* axis : {&job.h, &job.w}) f.wide ? set_roots<double>(*axis) : set_roots<float>(*axis);
  kernel = &(weights ? target.kernels->weight_grad_spectral : target.kernels->correlate_spectral)[f.wide];
  scratch_bytes = kernel->scratch_bytes(job);
  threads = threads_for(f, job.units, most_threads);
}

std::string refusal(const SpectralPlan& plan) {
  const char* why = why_not(plan.facts);
  if (plan.problem.method != Method::fft || plan.facts.products == 0 || !why) return "";
  return std::string("the method \"fft\" cannot do this: ") + why;
}

bool is_taken(const SpectralPlan& plan, bool spectra_are_kept) {
  if (plan.misfit || plan.problem.method == Method::direct) return false;
  if (plan.problem.method == Method::fft) return true;
  return plan.cycles - (spectra_are_kept ? plan.cycles_of_filters : 0) < cycles(cheapest(plan.facts), plan.facts);
}

int64_t bytes_of_spectra(const SpectralPlan& plan) {
  const Spectral& job = plan.job;
  return job.filters * job.multiplier * (job.w.size / 2 + 1) * job.h.size * 2 * plan.facts.N * plan.facts.item;
}

bool have_same_spectra(const SpectralPlan& a, const SpectralPlan& b) {
  const auto same = [](const FourierAxis& one, const FourierAxis& other) {
    return one.size == other.size && one.taps == other.taps && one.tap_step == other.tap_step &&
           one.tap_first == other.tap_first;
  };
  const Spectral &one = a.job, &other = b.job;
  return a.kernel == b.kernel && one.lanes_of_tiles == other.lanes_of_tiles && same(one.h, other.h) &&
         same(one.w, other.w) && one.W == other.W && one.W_dtype == other.W_dtype &&
         one.W_multiplier == other.W_multiplier && one.W_channel == other.W_channel && one.W_h == other.W_h &&
         one.W_w == other.W_w && one.channels == other.channels && one.multiplier == other.multiplier;
}

std::vector<std::pair<std::string, std::string>> describe(const SpectralPlan& plan) {
  const Spectral& job = plan.job;
  const auto of_axes = [&](int64_t FourierAxis::* number) {
    return std::to_string(job.h.*number) + " x " + std::to_string(job.w.*number);
  };
  std::vector<std::pair<std::string, std::string>> text = {
      {"kernel", plan.problem.pass == Pass::weight_grad ? "weight_grad_spectral" : "correlate_spectral"},
      {"candidate", way},
      {"sums", plan.facts.wide ? "float64" : "float32"},
      {"transforms", of_axes(&FourierAxis::size)},
      {"tiles", of_axes(&FourierAxis::tiles)},
      {"lanes", job.lanes_of_tiles ? "tiles" : "channels"},
      {"units of work", std::to_string(job.units)},
      {"scratch bytes a thread", std::to_string(plan.scratch_bytes)}};
  if (plan.problem.pass == Pass::weight_grad) text.emplace_back("parts summed apart", std::to_string(job.parts));
  return text;
}

std::tuple<std::string, double, std::string> describe_way(const SpectralPlan& plan) {
  return {way, plan.cycles, plan.misfit ? plan.misfit : ""};
}

}  // namespace depthwise
