// The plan: over many random problems, on every target that this CPU can run, its numbers cover the outputs and keep
// their promises, the cheapest candidate wins, and no bit hangs on the caches or the threads. Candidates that fit can
// really run.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "../engine.hpp"
#include "../kernels/pack.hpp"
#include "../pool.hpp"

using namespace depthwise;

namespace {

constexpr Machine typical{.first_cache = 32 << 10, .second_cache = 1 << 20, .last_cache = 32 << 20, .cpus_sharing = 1};

std::mt19937 random_bits(1);

int64_t draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

int64_t draw_size(double most) {
  return static_cast<int64_t>(std::exp(std::uniform_real_distribution<>(0, std::log(most))(random_bits)));
}

// From caches that hold nothing to those that hold all.
Machine draw_machine() {
  const int64_t first = draw_size(1e9), second = first + draw_size(1e9);
  return {.first_cache = first,
          .second_cache = second,
          .last_cache = second + draw_size(1e9),
          .cpus_sharing = 1,
          .spares_caches = draw(0, 1) == 1};
}

void check(bool holds, const char* what, const Plan& plan) {
  if (holds) return;
  const Problem& p = plan.problem;
  const auto axis = [](const char* name, const Axis& a) {
    std::fprintf(stderr, "%s: size %ld, kernel %ld, stride %ld, pad %ld, dilate %ld, out %ld\n", name,
                 static_cast<long>(a.size), static_cast<long>(a.kernel), static_cast<long>(a.stride),
                 static_cast<long>(a.pad), static_cast<long>(a.dilate), static_cast<long>(a.out));
  };
  std::fprintf(stderr, "FAILED: %s\n%s, pass %d, batch %ld, channels %ld, multiplier %ld, dtypes %d %d %d\n", what,
               plan.candidate.name, static_cast<int>(p.pass), static_cast<long>(p.batch), static_cast<long>(p.channels),
               static_cast<long>(p.multiplier), static_cast<int>(p.x.dtype), static_cast<int>(p.W.dtype),
               static_cast<int>(p.y.dtype));
  axis("h", p.h);
  axis("w", p.w);
  std::exit(1);
}

Axis draw_axis(double size, double kernel, double step) {
  for (;;) {
    Axis a{draw_size(size),
           draw_size(kernel),
           draw(0, 1) ? 1 : draw_size(step),
           draw(0, 6),
           draw(0, 2) ? 1 : draw_size(step),
           0};
    const int64_t room = a.size + 2 * a.pad - a.dilate * (a.kernel - 1) - 1;
    if (room < 0) continue;
    a.out = room / a.stride + 1;
    return a;
  }
}

void lay_out(Array& a, DType dtype, bool last, int64_t gap, int64_t channels, int64_t d, int64_t h, int64_t w) {
  a.dtype = dtype;
  const int64_t sizes[array_axes] = {1, channels, d, h, w};
  const int planar[] = {4, 3, 2, 1, 0}, channels_last[] = {1, 4, 3, 2, 0};
  for (const int axis : last ? channels_last : planar) {
    a.strides[axis] = gap;
    gap *= sizes[axis];
  }
}

Problem draw_problem(double size, double kernel, double channels, double step) {
  Problem p{};
  p.pass = static_cast<Pass>(draw(0, 2));
  p.batch = draw_size(5);
  p.channels = draw_size(channels);
  p.multiplier = draw(0, 2) ? 1 : draw(1, 3);
  if (p.pass != Pass::weight_grad && !draw(0, 2)) p.d = draw_axis(size / 4, kernel / 2, step);
  p.h = draw(0, 3) ? draw_axis(size, kernel, step) : no_axis;
  p.w = draw_axis(size, kernel, step);
  const auto dtype = static_cast<DType>(draw(0, 3)), W_dtype = draw(0, 2) ? dtype : static_cast<DType>(draw(0, 3));
  const bool last = draw(0, 1);
  const int64_t gap = draw(0, 5) ? 1 : 2;
  lay_out(p.x, dtype, last, gap, p.channels, p.d.size, p.h.size, p.w.size);
  lay_out(p.y, dtype, last, gap, p.channels * p.multiplier, p.d.out, p.h.out, p.w.out);
  lay_out(p.W, W_dtype, false, 1, p.channels, p.d.kernel, p.h.kernel, p.w.kernel);
  return p;
}

// `count` pieces of `each` cover `whole`, and none is empty.
bool covers(int64_t each, int64_t count, int64_t whole) {
  return each > 0 && each * count >= whole &&
         (count == 0 ? whole == 0 : each * (count - 1) < std::max<int64_t>(1, whole));
}

void check_correlation(const Plan& plan) {
  const Correlation& job = plan.correlation;
  const LatticeView& lat = job.lattice;
  const int64_t out_step = lat.cross_phase_count ? lat.cross_phases[0].out_step : 1;
  if (plan.candidate.form == Form::one_line) {
    const int64_t outs = job.out.cross_size;
    if (plan.candidate.channel_lanes) {
      check(covers(job.band, job.bands, outs), "bands do not cover the columns", plan);
      check(covers(job.group, job.groups, job.out_channels / plan.facts.N), "groups do not cover the channels", plan);
      check(job.units == job.batch * job.bands * job.groups, "units are not all pieces", plan);
    } else {
      check(covers(job.strip, job.strips, ceil_div(outs, out_step)), "strips do not cover a phase's columns", plan);
      check(job.units == job.batch * job.out_channels * job.strips, "units are not all pieces", plan);
    }
  } else if (plan.candidate.channel_lanes) {
    const int64_t vectors = ceil_div(job.out_channels, plan.facts.N);
    check(covers(job.strip, job.strips, job.out.lines), "strips do not cover the columns", plan);
    check(covers(job.band, job.bands, job.out.cross_size), "bands do not cover the rows", plan);
    check(covers(job.group, job.groups, vectors), "groups do not cover the channels", plan);
    check(job.units == job.batch * lat.depth_outs * job.strips * job.bands * job.groups, "units are not all pieces",
          plan);
  } else {
    check(covers(job.strip, job.strips, ceil_div(job.out.cross_size, out_step)), "strips do not cover the columns",
          plan);
    check(job.strip % plan.facts.N == 0, "a strip is not of whole vectors", plan);
    check(job.packed_sum == std::max<int64_t>(1, lat.max_depth_taps) * job.sum || job.packed_sum == 1,
          "neither all planes are packed nor one", plan);
    check(job.channels_together ||
              job.units == job.batch * lat.depth_outs * job.out_channels * job.strips * lat.line_tiles,
          "units are not all pieces", plan);
  }
}

void check_weight_gradient(const Plan& plan) {
  const WeightGradient& job = plan.weight_gradient;
  const bool by_columns = plan.candidate.form == Form::one_line && plan.candidate.channel_lanes;
  check(covers(job.band, job.bands, by_columns ? plan.problem.w.out : plan.problem.h.out),
        "bands do not cover the rows", plan);
  check(job.parts >= 1 && job.parts <= std::max<int64_t>(1, job.batch * (job.channels_together ? 1 : job.bands)),
        "a part has no cell", plan);
  check(job.units == job.groups * job.parts, "units are not all pieces", plan);
  check(!job.gW || job.parts == 1, "several parts would go to one place", plan);
  if (plan.candidate.channel_lanes)
    check(covers(job.group, job.groups, ceil_div(job.out_channels, plan.facts.N)), "groups do not cover the channels",
          plan);
}

void check_cheapest(const Plan& plan) {
  check(!why_not(plan.candidate, plan.considered), "what was chosen does not fit", plan);
  for (const Candidate& c : candidates)
    check(why_not(c, plan.considered) || cycles(plan.candidate, plan.considered) <= cycles(c, plan.considered),
          "another candidate is cheaper", plan);
}

// Beyond 1 MiB there are only copies of the weights, in whole vectors, and what grows with a kernel alone: tables, and
// two vectors for each tap in the rows of a tile, where taps lie far apart.
void check_scratch(const Plan& plan) {
  const Facts& f = plan.facts;
  const int64_t taps = plan.problem.d.kernel * plan.problem.h.kernel * plan.problem.w.kernel,
                vector_bytes = f.N * f.item;
  const int64_t weights = f.vectors() * vector_bytes * (f.gradient ? plan.problem.multiplier : 1) * taps;
  const int64_t of_kernel = ((8 + 2 * f.k.max_lines) * vector_bytes + 256) * taps;
  check(plan.scratch_bytes <= (int64_t{1} << 20) + weights + of_kernel, "more than 1 MiB of scratch memory", plan);
}

// What bits may hang on is the same on every machine and for every number of threads.
void check_fixed(const Plan& a, const Plan& b) {
  check(&a.candidate == &b.candidate, "the choice hangs on the machine", a);
  if (a.sum_products) {
    const WeightGradient &x = a.weight_gradient, &y = b.weight_gradient;
    check(x.strip == y.strip && x.ring == y.ring && x.band == y.band && x.bands == y.bands && x.parts == y.parts &&
              x.group == y.group && x.groups == y.groups && x.channels_together == y.channels_together &&
              x.columns_together == y.columns_together && x.vectors_together == y.vectors_together &&
              x.units == y.units && x.x.direct == y.x.direct && x.g.direct == y.g.direct && x.gW == y.gW,
          "the order of a weight gradient's sums hangs on the machine", a);
  } else {
    const Correlation &x = a.correlation, &y = b.correlation;
    check(x.strip == y.strip && x.ring == y.ring && x.packed_sum == y.packed_sum && x.interleaved == y.interleaved &&
              x.channels_together == y.channels_together && x.in.direct == y.in.direct &&
              x.rows.elements == y.rows.elements,
          "what a correlation packs hangs on the machine", a);
  }
}

void test_numbers(const Target& target) {
  const bool large = !draw(0, 4);
  const double step = large ? 300 : draw(0, 5) ? 4 : 1e6;
  const Problem p = draw_problem(large ? 600 : 60, large ? 200 : 9, draw(0, 5) ? 60 : 1000, step);
  const int threads = static_cast<int>(draw(1, 64));
  const Plan plan(p, target, threads, typical), other(p, target, static_cast<int>(draw(1, 64)), draw_machine());
  for (const Plan* each : {&plan, &other}) {
    each->sum_products ? check_weight_gradient(*each) : check_correlation(*each);
    check_cheapest(*each);
    check_scratch(*each);
  }
  check(plan.threads >= 1 && plan.threads <= threads, "more threads than were allowed", plan);
  check_fixed(plan, other);
}

// Pixels between an output's taps are so many that they cannot be packed for lanes of channels.
void test_far_taps(const Target& target) {
  Problem p{};
  p.batch = 1, p.channels = 64, p.multiplier = 1;
  p.h = {.size = 100, .kernel = 60, .stride = 1, .pad = 0, .dilate = 1, .out = 41};
  p.w = {.size = 3000, .kernel = 2, .stride = 1, .pad = 0, .dilate = 2900, .out = 100};
  lay_out(p.x, DType::f16, true, 1, p.channels, p.d.size, p.h.size, p.w.size);
  lay_out(p.y, DType::f16, true, 1, p.channels, p.d.out, p.h.out, p.w.out);
  lay_out(p.W, DType::f16, false, 1, p.channels, p.d.kernel, p.h.kernel, p.w.kernel);
  for (const Pass pass : {Pass::forward, Pass::input_grad, Pass::weight_grad}) {
    p.pass = pass;
    check_scratch(Plan(p, target, 1, typical));
  }
}

// The plan of an image with so many rows and columns: of two channels, or of 16 that are closest in memory.
Plan plan_of_rows(const Target& target, Pass pass, DType dtype, int64_t rows, int64_t columns, int64_t kernel_h,
                  int64_t kernel_w, bool last = false) {
  Problem p{};
  p.pass = pass;
  p.batch = 1, p.channels = last ? 16 : 2, p.multiplier = 1;
  p.h = {.size = rows, .kernel = kernel_h, .stride = 1, .pad = kernel_h / 2, .dilate = 1, .out = rows};
  p.w = {.size = columns, .kernel = kernel_w, .stride = 1, .pad = kernel_w / 2, .dilate = 1, .out = columns};
  lay_out(p.x, dtype, last, 1, p.channels, 1, rows, columns);
  lay_out(p.y, dtype, last, 1, p.channels, 1, rows, columns);
  lay_out(p.W, dtype, false, 1, p.channels, 1, kernel_h, kernel_w);
  return Plan(p, target, 1, typical);
}

// Rows that fall into few places of a first-level cache are copied, others read as they lie or converted together.
void test_crowding_rows(const Target& target) {
  struct Case {
    DType dtype;
    int64_t rows, columns, kernel_h, kernel_w;
    bool crowd;
  };
  const int64_t tile = target.kernels->max_lines;  // tiles of two rows crowd nowhere
  const bool some = tile >= 4, tall = tile >= 8;
  for (const Case& c : {Case{DType::f32, 128, 1024, 3, 3, some}, Case{DType::f32, 128, 1008, 3, 3, false},
                        Case{DType::f32, 128, 1023, 3, 3, some}, Case{DType::f32, 128, 1040, 3, 3, false},
                        Case{DType::f32, 128, 3072, 3, 3, some}, Case{DType::f32, 128, 16384, 31, 1, some},
                        Case{DType::f32, 128, 512, 7, 7, tall}, Case{DType::f32, 128, 512, 1, 3, false},
                        Case{DType::f32, 128, 256, 7, 7, false}, Case{DType::f32, 128, 1024, 1, 1, false},
                        Case{DType::f32, 3, 1024, 3, 3, false}, Case{DType::f32, 128, 8, 3, 3, false},
                        Case{DType::f64, 128, 512, 3, 3, some}, Case{DType::f64, 128, 504, 3, 3, false},
                        Case{DType::f16, 32, 1024, 3, 3, some}, Case{DType::bf16, 32, 1008, 3, 3, false}})
    for (const Pass pass : {Pass::forward, Pass::input_grad, Pass::weight_grad}) {
      const Plan plan = plan_of_rows(target, pass, c.dtype, c.rows, c.columns, c.kernel_h, c.kernel_w);
      check(rows_crowd(plan.facts) == c.crowd, "rows crowd, or do not, as their length says", plan);
      if (plan.candidate.channel_lanes) continue;
      const Form other = item_bytes(c.dtype) < 4 ? Form::converted : Form::in_place;
      check(plan.candidate.form == (c.crowd ? Form::packed : other), "rows are copied where they crowd", plan);
    }
}

// Rows of pixels under the taps of a tall kernel are copied in bands where they crowd and bands of them fit a cache;
// those of a weight gradient are left as they lie where pixels do not crowd.
void test_crowding_rows_of_pixels(const Target& target) {
  struct Case {
    int64_t columns, kernel_h, kernel_w;
    bool crowd;
  };
  for (const Case& c :
       {Case{64, 15, 1, true}, Case{60, 15, 1, false}, Case{64, 9, 7, true}, Case{64, 7, 7, false},
        Case{64, 3, 3, false}, Case{32, 7, 7, false}, Case{1024, 15, 1, false}, Case{1040, 15, 1, false}})
    for (const Pass pass : {Pass::forward, Pass::input_grad, Pass::weight_grad}) {
      const Plan plan = plan_of_rows(target, pass, DType::f32, 128, c.columns, c.kernel_h, c.kernel_w, true);
      const Form expected = c.crowd && pass != Pass::weight_grad ? Form::converted : Form::in_place;
      check(plan.candidate.channel_lanes && plan.candidate.form == expected,
            "rows of pixels are copied where they crowd", plan);
    }
}

// The plan of a dense image of pixels, so many rows and columns with same padding.
Plan plan_of_pixels(const Target& target, Pass pass, int64_t channels, int64_t size, int64_t kernel, int64_t stride,
                    int64_t multiplier = 1) {
  Problem p{};
  p.pass = pass;
  p.batch = 1, p.channels = channels, p.multiplier = multiplier;
  const int64_t out = (size - 1) / stride + 1, outs = channels * multiplier;
  p.h = p.w = {.size = size, .kernel = kernel, .stride = stride, .pad = kernel / 2, .dilate = 1, .out = out};
  lay_out(p.x, DType::f32, true, 1, channels, 1, size, size);
  lay_out(p.y, DType::f32, true, 1, outs, 1, out, out);
  lay_out(p.W, DType::f32, false, multiplier, channels, 1, kernel, kernel);
  return Plan(p, target, 1, typical);
}

// Where vectors are less than a line of the cache, pixels that crowd it are summed by pairs of vectors, or copied.
void test_crowding_pixels(const Target& target) {
  struct Case {
    int64_t channels, size, kernel, stride;
    bool paired, copied;
  };
  const bool pairs = target.kernels->has_pairs;
  for (const Case& c :
       {Case{512, 56, 3, 1, true, false}, Case{528, 56, 3, 1, false, false}, Case{512, 14, 3, 1, false, true},
        Case{1024, 7, 3, 1, false, true}, Case{256, 28, 3, 1, true, false}, Case{128, 56, 3, 1, false, false},
        Case{512, 14, 7, 1, false, true}, Case{520, 14, 7, 1, false, false}, Case{256, 28, 3, 2, true, false},
        Case{512, 14, 27, 1, false, true}})
    for (const Pass pass : {Pass::forward, Pass::input_grad}) {
      if (!pairs || (pass == Pass::input_grad && c.stride > 1)) continue;
      const Plan plan = plan_of_pixels(target, pass, c.channels, c.size, c.kernel, c.stride);
      check(plan.candidate.form == (c.copied ? Form::converted : Form::in_place), "crowding pixels are copied", plan);
      check(plan.correlation.paired == c.paired, "crowding pixels are summed by pairs of vectors", plan);
    }
}

// Channels that feed several are read as they lie, and their gradients added where these have lanes.
void test_multipliers(const Target& target) {
  for (const Pass pass : {Pass::forward, Pass::input_grad})
    for (const int64_t multiplier : {2, 3, 8}) {
      const Plan plan = plan_of_pixels(target, pass, 32, 28, 3, 1, multiplier);
      const bool spreads = target.kernels->spread_block[0];
      check((plan.candidate.form == Form::in_place) == spreads, "multipliers take lanes where a target can", plan);
    }
}

// Sums of tall kernels are staged beside rows that crowd: chunks of few products each would load and store them.
void test_staged_rows(const Target& target) {
  const auto direct = [&](int64_t columns, int64_t kernel_h, int64_t kernel_w) {
    return plan_of_rows(target, Pass::forward, DType::f32, 128, columns, kernel_h, kernel_w).correlation.out.direct;
  };
  check(direct(1024, 31, 1) == (target.kernels->max_lines < 4) && direct(1024, 15, 3) && direct(1024, 3, 3) &&
            direct(1008, 31, 1),
        "sums are staged where a tall kernel's rows crowd",
        plan_of_rows(target, Pass::forward, DType::f32, 128, 1024, 31, 1));
}

int64_t elements_of(const Array& a, std::initializer_list<int64_t> shape) {
  int64_t last = 0;
  int i = 0;
  const int count = static_cast<int>(shape.size());
  for (const int64_t size : shape) last += (size - 1) * a.strides[i < 2 ? i : array_axes - count + i], ++i;
  return last + 1;
}

// Memory of an array, filled with small integers, whose sums have one value in any order.
std::vector<double> fill(Array& a, std::initializer_list<int64_t> shape) {
  const int64_t count = elements_of(a, shape);
  std::vector<double> memory(static_cast<size_t>(count));
  a.data = memory.data();
  with_type(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t i = 0; i < count; ++i) static_cast<T*>(a.data)[i] = convert<T>(static_cast<double>(draw(-2, 2)));
  });
  return memory;
}

void test_runs(const Target& target) {
  Problem p = draw_problem(30, 5, 20, 3);
  std::vector<double> x = fill(p.x, {p.batch, p.channels, p.d.size, p.h.size, p.w.size});
  std::vector<double> W = fill(p.W, {p.multiplier, p.channels, p.d.kernel, p.h.kernel, p.w.kernel});
  std::vector<double> y = fill(p.y, {p.batch, p.channels * p.multiplier, p.d.out, p.h.out, p.w.out});
  std::vector<double>& result = p.pass == Pass::forward ? y : p.pass == Pass::input_grad ? x : W;
  const std::vector<double> before = result;
  std::vector<double> expected;
  for (const Machine& machine : {typical, draw_machine()}) {
    const Plan chosen(p, target, 1, machine);
    for (const Candidate& c : candidates) {
      if (why_not(c, chosen.considered)) continue;
      result = before;
      const Plan plan(p, target, static_cast<int>(draw(1, 3)), machine, &c);
      execute(plan, pool());
      if (expected.empty()) expected = result;
      check(std::memcmp(result.data(), expected.data(), result.size() * sizeof(double)) == 0,
            "a candidate that fits has another result", plan);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int problems = argc > 1 ? std::atoi(argv[1]) : 5000;
  int passed = 0;
  for (int i = 0; i < target_count; ++i) {
    if (!targets[i].supported()) continue;
    test_far_taps(targets[i]);
    test_crowding_rows(targets[i]);
    test_crowding_rows_of_pixels(targets[i]);
    test_crowding_pixels(targets[i]);
    test_multipliers(targets[i]);
    test_staged_rows(targets[i]);
    for (int k = 0; k < problems; ++k) test_numbers(targets[i]);
    for (int k = 0; k < problems / 2; ++k) test_runs(targets[i]);
    passed += problems + problems / 2;
  }
  std::printf("%d passed, 0 failed\n", passed);
  return 0;
}
