// Hands the units of a plan to threads, and adds up what the parts of a weight gradient have summed.
#include "engine.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "blocks.hpp"
#include "borders.hpp"
#include "kernels/pack.hpp"
#include "parallel.hpp"
#include "plan/spectral.hpp"
#include "subproblems.hpp"

namespace depthwise {
namespace {

std::atomic<int64_t> executed[most_targets];

template <class Job>
void run(const Kernel<Job>& kernel, const Job& job, int64_t units, int threads, int64_t scratch_bytes,
         Executor& executor) {
  struct Call {
    const Kernel<Job>& kernel;
    const Job& job;
  } call{kernel, job};
  parallel_for(
      units, threads, scratch_bytes,
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& it = *static_cast<const Call*>(c);
        it.kernel.run(it.job, begin, end, scratch);
      },
      &call, executor);
}

template <class Job>
void run(const Kernel<Job>& kernel, const Job& job, const Plan& plan, Executor& executor) {
  run(kernel, job, plan.units, plan.threads, plan.scratch_bytes, executor);
}

// Fills gx with zeros, row by row or pixel by pixel as its memory lies.
void clear(const Problem& p, int threads, Executor& executor) {
  parallel_for(
      p.batch * p.d.size * p.h.size, threads, 0,
      [](const void* job, int64_t begin, int64_t end, void*) {
        const Problem& problem = *static_cast<const Problem*>(job);
        const auto& [data, dtype, strides] = problem.x;
        const int64_t channels = problem.channels, d = problem.d.size, h = problem.h.size, w = problem.w.size;
        const auto item = static_cast<size_t>(item_bytes(dtype));
        const bool last = strides[1] == 1;
        const int64_t outer = last ? w : channels, inner = last ? channels : w;
        const int64_t outer_step = strides[last ? width_axis : 1], inner_step = strides[last ? 1 : width_axis];
        for (int64_t row = begin; row < end; ++row)
          for (int64_t i = 0; i < outer; ++i) {
            char* at = static_cast<char*>(data) + (row / h / d * strides[0] + row / h % d * strides[depth_axis] +
                                                   row % h * strides[height_axis] + i * outer_step) *
                                                      static_cast<int64_t>(item);
            if (inner_step == 1)
              std::memset(at, 0, static_cast<size_t>(inner) * item);
            else
              for (int64_t k = 0; k < inner; ++k)
                std::memset(at + k * inner_step * static_cast<int64_t>(item), 0, item);
          }
      },
      &p, executor);
}

// Adds the parts up in order, so that the sum does not depend on who summed them.
double sum_of_parts(const double* sums, int64_t parts, int64_t size) {
  double total = 0;
  for (int64_t part = 0; part < parts; ++part) total += sums[part * size];
  return total;
}

template <class T>
void store_weights(const Problem& p, int64_t parts, const double* sums) {
  const Array& gW = p.W;
  const int64_t kernel_h = p.h.kernel, kernel_w = p.w.kernel, outs = p.channels * p.multiplier;
  for (int64_t o = 0; o < outs; ++o) {
    T* plane = static_cast<T*>(gW.data) + o % p.multiplier * gW.strides[0] + o / p.multiplier * gW.strides[1];
    for (int64_t k = 0; k < kernel_h; ++k)
      for (int64_t l = 0; l < kernel_w; ++l, ++sums)
        plane[k * gW.strides[height_axis] + l * gW.strides[width_axis]] =
            convert<T>(sum_of_parts(sums, parts, outs * kernel_h * kernel_w));
  }
}

void store_weights(const Problem& p, int64_t parts, const double* sums) {
  with_type(p.W.dtype, [&](auto type) { store_weights<typename decltype(type)::type>(p, parts, sums); });
}

template <class T>
void store_biases(const Problem& p, const WeightGradient& job) {
  for (int64_t o = 0; o < job.out_channels; ++o)
    static_cast<T*>(p.b.data)[o * p.b.strides[0]] =
        convert<T>(sum_of_parts(job.gb_sums + o, job.parts, job.out_channels));
}

template <class T>
void move(T*& data, int64_t bytes) {
  if (data) data = reinterpret_cast<T*>(reinterpret_cast<intptr_t>(data) + bytes);
}

// The taps of an axis but for the first and the last that are in the padding for every output: of 3x3 over a single row
// one row is left.
Span taps_met(const Axis& a) {
  int64_t first = 0, last = a.kernel - 1;
  while (first < last && !outputs_met(a, first).count) ++first;
  while (first < last && !outputs_met(a, last).count) --last;
  return {first, last + 1};
}

// Without taps before that, windows would begin behind the image.
int64_t most_taps_left_out(const Axis& a) { return a.pad / a.dilate; }

// A part keeps the taps that its whole keeps, so that they are summed in one order.
void keep_taps(Problem& p, Axis Problem::* at, int axis, const Axis& whole) {
  Axis& a = p.*at;
  const Span here = taps_met(a), there = taps_met(whole);
  int64_t first = std::min({here.begin, there.begin, most_taps_left_out(whole)});
  if (p.pass != Pass::forward) first = std::min(first, most_taps_left_out(a));
  advance(p.W, first * p.W.strides[axis]);
  a.pad -= first * a.dilate;
  a.kernel = std::max(here.end, there.end) - first;
  if (a.pad >= 0) return;
  const int64_t before = std::min(-a.pad, a.size);  // of a part, which no window meets now
  advance(p.x, before * p.x.strides[axis]);
  a.size -= before;
  a.pad = 0;
}

int64_t taps_of(const Problem& p) { return p.d.kernel * p.h.kernel * p.w.kernel; }

void clear_weights(const Problem& p) {
  const int64_t item = item_bytes(p.W.dtype);
  const auto* strides = p.W.strides;
  for (int64_t m = 0; m < p.multiplier; ++m)
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t d = 0; d < p.d.kernel; ++d)
        for (int64_t h = 0; h < p.h.kernel; ++h) {
          char* row = static_cast<char*>(p.W.data) +
                      (m * strides[0] + c * strides[1] + d * strides[depth_axis] + h * strides[height_axis]) * item;
          for (int64_t w = 0; w < p.w.kernel; ++w)
            std::memset(row + w * strides[width_axis] * item, 0, static_cast<size_t>(item));
        }
}

// What a weight gradient sums for one tap in depth: the planes of gy under which a plane of x is inside the image.
Problem under_tap(const Problem& p, int64_t tap) {
  const Axis& d = p.d;
  const auto [first, count] = outputs_met(d, tap);
  Problem one = p;
  if (count) {
    advance(one.x, (tap * d.dilate - d.pad + first * d.stride) * p.x.strides[depth_axis]);
    advance(one.y, first * p.y.strides[depth_axis]);
  } else {
    one.batch = 0;
  }
  advance(one.W, tap * p.W.strides[depth_axis]);
  one.x.strides[depth_axis] *= d.stride;
  one.d = no_axis;
  one.d.size = one.d.out = std::max<int64_t>(1, count);
  one.b.data = nullptr;
  return one;
}

// The sum of gy as the weight gradient of a kernel without taps.
Problem without_taps(const Problem& p) {
  Problem sums = p;
  sums.x = sums.y;
  sums.channels *= sums.multiplier;
  sums.multiplier = 1;
  for (Axis* a : {&sums.d, &sums.h, &sums.w}) {
    const int64_t out = a->out;
    *a = no_axis;
    a->size = a->out = out;
  }
  sums.h.kernel = sums.w.kernel = 0;
  return sums;
}

// Whether planes of x and gy meet one by one, so that each pair is an image.
bool planes_meet(const Axis& d) { return d.kernel == 1 && d.stride == 1 && d.pad == 0 && d.size == d.out; }

bool is_made_of_taps(const Problem& p) { return p.pass == Pass::weight_grad && !planes_meet(p.d); }

}  // namespace

void count_execution(const Kernels* kernels) {
  for (int i = 0; i < target_count; ++i)
    if (targets[i].kernels == kernels) executed[i].fetch_add(1, std::memory_order_relaxed);
}

Problem of_taps_met(const Problem& asked) {
  Problem p = asked;
  const Problem& all = asked.whole ? *asked.whole : asked;
  keep_taps(p, &Problem::d, depth_axis, all.d);
  keep_taps(p, &Problem::h, height_axis, all.h);
  keep_taps(p, &Problem::w, width_axis, all.w);
  return p;
}

Problem largest_part(const Problem& asked) {
  const Problem p = of_taps_met(largest_inside(asked));
  return is_made_of_taps(p) && p.d.kernel ? under_tap(p, p.d.kernel / 2) : p;
}

namespace {

// One channel of one image, or of all.
Problem plane_of(const Problem& p, int64_t image, int64_t channel) {
  const bool all = p.pass == Pass::weight_grad;
  Problem one = some_planes(p, {image, all ? p.batch : image + 1}, {channel, channel + 1});
  if (all) one.b.data = nullptr;
  return one;
}

// The filters' spectra, made unless they are kept; none where they are too many to be.
std::shared_ptr<const KeptSpectra::Spectra> spectra_for(const SpectralPlan& plan, const Target& target,
                                                        KeptSpectra& keeper, Executor& executor) {
  if (auto kept = keeper.find(plan)) return kept;
  if (bytes_of_spectra(plan) > KeptSpectra::most_bytes) return nullptr;
  std::shared_ptr<const KeptSpectra::Spectra> made(
      new KeptSpectra::Spectra{SpectralPlan(plan.problem, target, plan.threads), Block(bytes_of_spectra(plan))});
  Spectral job = plan.job;
  job.spectra = made->memory.data();
  const Kernel<Spectral>& kernel = target.kernels->transform_filters[plan.facts.wide];
  run(kernel, job, job.filters, plan.threads, kernel.scratch_bytes(job), executor);
  keeper.keep(made);
  return made;
}

// By the plan, and those planes directly whose sums are not finite: an infinity is felt in all of a tile.
void execute(const SpectralPlan& plan, const Target& target, int threads, Executor& executor, KeptSpectra* keeper) {
  Spectral job = plan.job;
  std::shared_ptr<const KeptSpectra::Spectra> kept;
  if (keeper && plan.problem.pass != Pass::weight_grad) {
    kept = spectra_for(plan, target, *keeper, executor);
    if (kept) job.spectra = kept->memory.data();
  }
  const bool weights = plan.problem.pass == Pass::weight_grad;
  const int64_t sums = weights ? job.parts * job.channels * job.multiplier * job.h.taps * job.w.taps : 0;
  const int64_t planes = (weights ? 1 : job.batch) * job.channels;
  const Block memory(sums * int64_t{sizeof(double)} + planes);
  job.sums = static_cast<double*>(memory.data());
  job.unfit = static_cast<uint8_t*>(memory.data()) + sums * int64_t{sizeof(double)};
  std::fill_n(job.unfit, planes, uint8_t{0});
  run(*plan.kernel, job, job.units, plan.threads, plan.scratch_bytes, executor);
  if (weights) store_weights(plan.problem, job.parts, job.sums);
  for (int64_t i = 0; i < planes; ++i)
    if (job.unfit[i])
      execute(Plan(plane_of(plan.problem, i / job.channels, i % job.channels), target, threads), executor);
}

// Whether the problem's method is to do it by Fourier transforms; then does so.
bool solve_spectrally(const Problem& p, const Target& target, int threads, Executor& executor, KeptSpectra* keeper) {
  if (p.method == Method::direct) return false;
  const SpectralPlan plan(p, target, threads);
  if (const std::string why = refusal(plan); !why.empty()) throw std::invalid_argument(why);
  if (!is_taken(plan, keeper != nullptr)) return false;
  execute(plan, target, threads, executor, keeper);
  if (p.pass == Pass::weight_grad && p.b.data) execute(Plan(without_taps(p), target, threads), executor);
  return true;
}

}  // namespace

void solve(const Problem& asked, const Target& target, int threads, Executor& executor, KeptSpectra* keeper) {
  count_execution(target.kernels);
  solve_part(asked, target, threads, executor, keeper);
}

void solve_part(const Problem& asked, const Target& target, int threads, Executor& executor, KeptSpectra* keeper) {
  if (meets_border(asked)) return solve_with_border(asked, target, threads, executor, keeper);
  Problem p = of_taps_met(asked), whole;
  if (asked.whole) {
    whole = of_taps_met(*asked.whole);
    p.whole = &whole;
  }
  if (p.pass == Pass::weight_grad && taps_of(p) < taps_of(asked)) clear_weights(asked);
  if (solve_spectrally(p, target, threads, executor, keeper)) return;
  if (!is_made_of_taps(p)) return execute(Plan(p, target, threads), executor);
  for (int64_t tap = 0; tap < p.d.kernel; ++tap) execute(Plan(under_tap(p, tap), target, threads), executor);
  if (p.b.data) execute(Plan(without_taps(p), target, threads), executor);
}

int64_t executions(int target) { return executed[target]; }

void execute(const Plan& plan, Executor& executor, const Moved& by) {
  Problem p = plan.problem;
  move(p.x.data, by.x);
  move(p.W.data, by.W);
  move(p.b.data, by.b);
  move(p.y.data, by.y);
  if (plan.clears) clear(p, plan.threads, executor);
  if (plan.correlate) {
    const bool gradient = p.pass == Pass::input_grad;
    Correlation job = plan.correlation;
    move(job.in.data, gradient ? by.y : by.x);
    move(job.out.data, gradient ? by.x : by.y);
    move(job.W, by.W);
    move(job.b, by.b);
    job.spare += by.spare;
    return run(*plan.correlate, job, plan, executor);
  }
  WeightGradient job = plan.weight_gradient;
  move(job.x.data, by.x);
  move(job.g.data, by.y);
  move(job.gW, by.W);
  job.spare += by.spare;
  const int64_t outs = job.parts * job.out_channels, taps = job.kernel_lines * job.kernel_cross;
  const int64_t weights = job.gW ? 0 : outs * taps, biases = p.b.data ? outs : 0;
  const Block memory = weights + biases ? Block((weights + biases) * int64_t{sizeof(double)}) : Block();
  job.sums = static_cast<double*>(memory.data());
  job.gb_sums = biases ? job.sums + weights : nullptr;
  run(*plan.sum_products, job, plan, executor);
  if (weights) store_weights(p, job.parts, job.sums);
  if (biases) with_type(p.b.dtype, [&](auto type) { store_biases<typename decltype(type)::type>(p, job); });
}

}  // namespace depthwise
