// The engine without Python: random problems, exact, on every target, each array between two pages that cannot be
// touched. What is not finite counts in the products of the definition and in no other. Prints one line, and fails on
// the first difference.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "../engine.hpp"
#include "../kernels/pack.hpp"
#include "../pool.hpp"

using namespace depthwise;

namespace {

std::mt19937 random_bits(1);

int64_t draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

// Bytes that end, or begin, at the edge of a page that cannot be read or written.
class Guarded {
 public:
  Guarded(size_t bytes, bool at_end) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = (bytes + page - 1) / page * page;
    size_ = inner + 2 * page;
    memory_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED) fail("mmap");
    if (mprotect(memory_, page, PROT_NONE) || mprotect(memory_ + page + inner, page, PROT_NONE)) fail("mprotect");
    data = memory_ + page + (at_end ? inner - bytes : 0);
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(memory_, size_); }
  char* data;

 private:
  char* memory_;
  size_t size_;
};

// How memory has the elements of a tensor: `pitch` elements from pixel to pixel at least, where channels are
// neighbours.
struct Layout {
  bool last, at_end;
  int64_t pitch = 1;
};

// An array of small integers of any dtype, planar or channels last.
struct Tensor {
  using Index = std::array<int64_t, array_axes>;

  Tensor(const Index& s, DType t, const Layout& layout)
      : shape(s), count(elements(s, layout)), memory(static_cast<size_t>(count * item_bytes(t)), layout.at_end) {
    array = {memory.data, t, {}};
    elements(s, layout, array.strides);
    for (int64_t i = 0; i < count; ++i) set_flat(i, static_cast<double>(draw(-3, 3)));
  }
  static int64_t elements(const Index& s, const Layout& layout, int64_t* strides = nullptr) {
    int64_t count = 1;
    for (const int axis : layout.last ? Index{1, 4, 3, 2, 0} : Index{4, 3, 2, 1, 0}) {
      if (strides) strides[axis] = count;
      count *= s[static_cast<size_t>(axis)];
      if (layout.last && axis == 1 && count) count = std::max(count, layout.pitch);
    }
    return count;
  }
  // Makes some elements infinite, or no number.
  void spoil() {
    for (int64_t i = draw(0, 3); i > 0 && count; --i) set_flat(draw(0, count - 1), draw(0, 1) ? INFINITY : NAN);
  }
  double get(const Index& i) const {
    int64_t at = 0;
    for (size_t axis = 0; axis < i.size(); ++axis) at += i[axis] * array.strides[axis];
    return load_as<double>(memory.data, array.dtype, at);
  }
  void set_flat(int64_t i, double v) {
    with_type(array.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      reinterpret_cast<T*>(memory.data)[i] = convert<T>(v);
    });
  }

  Index shape;
  int64_t count;
  Guarded memory;
  Array array;
};

// Calls f(output, tap, input) for each pair that meets inside the image along an axis.
template <class F>
void for_meetings(const Axis& a, F&& f) {
  for (int64_t i = 0; i < a.out; ++i)
    for (int64_t k = 0; k < a.kernel; ++k) {
      const int64_t in = i * a.stride + k * a.dilate - a.pad;
      if (in >= 0 && in < a.size) f(i, k, in);
    }
}

// Calls f(index of x, of W, of y) for each product.
template <class F>
void for_products(const Problem& p, F&& f) {
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t m = 0; m < p.multiplier; ++m)
        for_meetings(p.d, [&](int64_t e, int64_t o, int64_t q) {
          for_meetings(p.h, [&](int64_t i, int64_t k, int64_t r) {
            for_meetings(p.w, [&](int64_t j, int64_t l, int64_t s) {
              f(Tensor::Index{n, c, q, r, s}, Tensor::Index{m, c, o, k, l},
                Tensor::Index{n, c * p.multiplier + m, e, i, j});
            });
          });
        });
}

Axis draw_axis(int64_t most) {
  for (;;) {
    Axis a{draw(1, most), draw(1, 7), draw(0, 3) ? draw(1, 3) : draw(4, 9), draw(0, 4), draw(1, 3), 0};
    const int64_t free = a.size + a.pad + draw(0, 4) - a.dilate * (a.kernel - 1) - 1;
    if (free < 0) continue;
    a.out = free / a.stride + 1;
    return a;
  }
}

// Of an image of one line: also rows of several strips, rows shorter than the kernel, and many taps.
Axis draw_line() {
  for (;;) {
    Axis a{draw(0, 9) ? draw(1, 150) : draw(1000, 5000),
           draw(0, 2) ? draw(1, 9) : draw(9, 60),
           draw(0, 3) ? 1 : draw(1, 3),
           0,
           draw(0, 2) ? 1 : draw(1, 9),
           0};
    const int64_t reach = a.dilate * (a.kernel - 1);
    a.pad = draw(0, 2) ? draw(0, 4) : draw(0, reach + 2);
    const int64_t free = a.size + a.pad + (draw(0, 1) ? 0 : draw(0, reach)) - reach - 1;
    if (free < 0) continue;
    a.out = free / a.stride + 1;
    return a;
  }
}

double rounded(double v, DType t) {
  with_type(t, [&](auto type) { v = convert<double>(convert<typename decltype(type)::type>(v)); });
  return v;
}

// What a tensor should hold, in order of its indices.
class Expected {
 public:
  explicit Expected(const Tensor::Index& shape)
      : shape_(shape), sums_(static_cast<size_t>(Tensor::elements(shape, {}))) {}
  void add(const Tensor::Index& i, double v) { sums_[place(i)] += v; }
  // Of those activations that are exact.
  void activate(Activation activation) {
    for (double& sum : sums_) {
      if (activation != Activation::none) sum = std::max(sum, 0.0);
      if (activation == Activation::relu6) sum = std::min(sum, 6.0);
    }
  }
  void check(const Tensor& result, const char* what) const {
    const auto& s = shape_;
    for (int64_t a = 0; a < s[0]; ++a)
      for (int64_t b = 0; b < s[1]; ++b)
        for (int64_t c = 0; c < s[2]; ++c)
          for (int64_t d = 0; d < s[3]; ++d)
            for (int64_t e = 0; e < s[4]; ++e) {
              const Tensor::Index i{a, b, c, d, e};
              const double is = result.get(i), should_be = rounded(sums_[place(i)], result.array.dtype);
              if (is != should_be && !(std::isnan(is) && std::isnan(should_be))) fail(what);
            }
  }

 private:
  size_t place(const Tensor::Index& i) const {
    int64_t at = 0;
    for (size_t axis = 0; axis < i.size(); ++axis) at = at * shape_[axis] + i[axis];
    return static_cast<size_t>(at);
  }

  Tensor::Index shape_;
  std::vector<double> sums_;
};

void test_problem(const Target& target) {
  Problem p{};
  const int64_t axes = draw(1, 4);  // two of four have two
  p.batch = draw(1, 2);
  p.channels = draw(1, 20);
  p.multiplier = draw(0, 3) ? draw(1, 2) : draw(3, 9);
  if (axes == 3) p.d = draw_axis(6);
  if (axes > 1) p.h = draw_axis(axes == 3 ? 6 : 12);
  p.w = axes == 1 ? draw_line() : axes == 3 && draw(0, 3) == 0 ? no_axis : draw_axis(axes == 3 ? 20 : 40);
  if (axes == 1)  // long rows of few channels, short ones of many
    p.channels = std::clamp<int64_t>(200000 / (p.batch * p.multiplier * p.w.out * p.w.kernel), 1, 2 * p.channels);
  const auto t = static_cast<DType>(draw(0, 3)), W_type = draw(0, 1) ? t : static_cast<DType>(draw(0, 3));
  Layout layout{.last = draw(0, 1) == 1, .at_end = draw(0, 1) == 1};
  if (axes == 2 && draw(0, 9) == 0) {  // pixels crowd a cache, dense or not
    p.h = draw_axis(4);
    p.w = draw_axis(12);
    layout.last = true;
    if (draw(0, 1))
      layout.pitch = 1024;
    else
      p.channels = draw(0, 3) ? 128 * draw(1, 3) : 1024;
  }
  const Layout planar{.last = false, .at_end = layout.at_end};
  if (axes == 1 && p.w.size < 1000 && draw(0, 3) == 0) layout.pitch = 1024;  // pixels crowd a cache
  const bool finite = draw(0, 4) != 0;
  const int64_t outs = p.channels * p.multiplier;
  const Tensor::Index x_shape{p.batch, p.channels, p.d.size, p.h.size, p.w.size},
      W_shape{p.multiplier, p.channels, p.d.kernel, p.h.kernel, p.w.kernel},
      y_shape{p.batch, outs, p.d.out, p.h.out, p.w.out};
  Tensor x(x_shape, t, layout), W(W_shape, W_type, planar);
  const Tensor y(y_shape, t, layout);
  const int threads = static_cast<int>(draw(1, 2));
  const auto spoil = [&](auto&... tensors) {
    if (!finite) (tensors.spoil(), ...);
  };
  const auto run = [&](Pass pass, const Tensor& x, const Tensor& W, const Tensor& y) {
    p.pass = pass;
    p.x = x.array;
    p.W = W.array;
    p.y = y.array;
    solve(p, target, threads, pool());
  };
  spoil(x, W);
  Expected expected_y(y_shape);
  for_products(p,
               [&](const auto& in, const auto& tap, const auto& out) { expected_y.add(out, x.get(in) * W.get(tap)); });
  p.activation = draw(0, 2) || !finite ? Activation::none : draw(0, 1) ? Activation::relu : Activation::relu6;
  run(Pass::forward, x, W, y);
  expected_y.activate(std::exchange(p.activation, Activation::none));
  expected_y.check(y, "forward");

  Tensor gy(y_shape, t, layout);
  const Tensor gx(x_shape, t, layout);
  spoil(gy);
  Expected expected_x(x_shape), expected_W(W_shape), expected_b({outs, 1, 1, 1, 1});
  for_products(p, [&](const auto& in, const auto& tap, const auto& out) {
    expected_x.add(in, gy.get(out) * W.get(tap));
    expected_W.add(tap, gy.get(out) * x.get(in));
  });
  run(Pass::input_grad, gx, W, gy);
  expected_x.check(gx, "input gradient");
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t e = 0; e < p.d.out; ++e)
        for (int64_t i = 0; i < p.h.out; ++i)
          for (int64_t j = 0; j < p.w.out; ++j) expected_b.add({o, 0, 0, 0, 0}, gy.get({n, o, e, i, j}));
  const Tensor gW(W_shape, W_type, planar), gb({outs, 1, 1, 1, 1}, W_type, planar);
  if (draw(0, 1)) p.b = {gb.array.data, gb.array.dtype, {1}};
  run(Pass::weight_grad, x, gW, gy);
  expected_W.check(gW, "weight gradient");
  if (p.b.data) expected_b.check(gb, "bias gradient");

  if (draw(0, 9)) return;
  Tensor::Index no_filters = W_shape, no_channels = y_shape;
  no_filters[0] = no_channels[1] = 0;
  const Tensor no_filter(no_filters, W_type, planar), no_gy(no_channels, t, layout);
  const int64_t multiplier = std::exchange(p.multiplier, 0);
  run(Pass::input_grad, gx, no_filter, no_gy);
  Expected(x_shape).check(gx, "input gradient of no filters");
  run(Pass::forward, x, no_filter, no_gy);
  run(Pass::weight_grad, x, no_filter, no_gy);
  p.multiplier = multiplier;
  (draw(0, 1) ? p.h : draw(0, 1) ? p.d : p.w).out = 0;
  const Tensor none({p.batch, outs, p.d.out, p.h.out, p.w.out}, t, layout);
  run(Pass::weight_grad, x, gW, none);
  Expected(W_shape).check(gW, "weight gradient of no outputs");
  if (p.b.data) Expected({outs, 1, 1, 1, 1}).check(gb, "bias gradient of no outputs");
}

}  // namespace

int main(int argc, char** argv) {
  const int problems = argc > 1 ? std::atoi(argv[1]) : 2000;
  int passed = 0;
  for (int i = 0; i < target_count; ++i) {
    if (!targets[i].supported()) {
      std::printf("skipped %s: this CPU cannot run it\n", targets[i].name);
      continue;
    }
    for (int k = 0; k < problems; ++k) test_problem(targets[i]);
    passed += problems;
    // Short rows by any target's kernels that have vectors half as long.
    for (int k = 0; k < target_count; ++k) {
      if (2 * targets[k].kernels->lanes[0] != targets[i].kernels->lanes[0] || !targets[k].supported()) continue;
      const Target pair{targets[i].name, targets[i].kernels, targets[i].supported, targets[k].kernels};
      for (int n = 0; n < problems; ++n) test_problem(pair);
      passed += problems;
    }
  }
  std::printf("%d passed, 0 failed\n", passed);
  return 0;
}
