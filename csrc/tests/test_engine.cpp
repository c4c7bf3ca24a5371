// The engine without Python: random problems, exact, on every target, each array between two pages that cannot be
// touched. Prints one line, and fails on the first difference.
#include <sys/mman.h>
#include <unistd.h>

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

// An array of small integers of any dtype, planar or channels last.
struct Tensor {
  Tensor(const int64_t (&s)[4], DType t, bool last, bool at_end)
      : bytes(static_cast<size_t>(s[0] * s[1] * s[2] * s[3] * item_bytes(t))), memory(bytes, at_end) {
    std::memcpy(shape, s, sizeof(shape));
    array = {memory.data, t, {s[1] * s[2] * s[3], s[2] * s[3], 0, s[3], 1}};
    if (last) {
      const int64_t strides[array_axes] = {s[1] * s[2] * s[3], 1, 0, s[1] * s[3], s[1]};
      std::memcpy(array.strides, strides, sizeof(strides));
    }
    for (int64_t i = 0; i < s[0] * s[1] * s[2] * s[3]; ++i) set_flat(i, static_cast<double>(draw(-3, 3)));
  }
  int64_t at(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return a * array.strides[0] + b * array.strides[1] + c * array.strides[height_axis] + d * array.strides[width_axis];
  }
  double get(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return load_as<double>(memory.data, array.dtype, at(a, b, c, d));
  }
  void set_flat(int64_t i, double v) {
    with_type(array.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      reinterpret_cast<T*>(memory.data)[i] = convert<T>(v);
    });
  }

  size_t bytes;
  Guarded memory;
  int64_t shape[4];
  Array array;
};

template <class F>
void for_products(const Problem& p, F&& f) {
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t m = 0; m < p.multiplier; ++m)
        for (int64_t i = 0; i < p.h.out; ++i)
          for (int64_t j = 0; j < p.w.out; ++j)
            for (int64_t k = 0; k < p.h.kernel; ++k)
              for (int64_t l = 0; l < p.w.kernel; ++l) {
                const int64_t r = i * p.h.stride + k * p.h.dilate - p.h.pad,
                              s = j * p.w.stride + l * p.w.dilate - p.w.pad;
                if (r >= 0 && r < p.h.size && s >= 0 && s < p.w.size) f(n, c, m, i, j, k, l, r, s);
              }
}

Axis draw_axis(int64_t most) {
  for (;;) {
    Axis a{draw(1, most), draw(1, 7), draw(1, 3), draw(0, 4), draw(1, 3), 0};
    const int64_t free = a.size + 2 * a.pad - a.dilate * (a.kernel - 1) - 1;
    if (free < 0) continue;
    a.out = free / a.stride + 1;
    return a;
  }
}

double rounded(double v, DType t) {
  with_type(t, [&](auto type) { v = convert<double>(convert<typename decltype(type)::type>(v)); });
  return v;
}

void check(const Tensor& result, const std::vector<double>& expected, const char* what) {
  const auto& s = result.shape;
  size_t i = 0;
  for (int64_t a = 0; a < s[0]; ++a)
    for (int64_t b = 0; b < s[1]; ++b)
      for (int64_t c = 0; c < s[2]; ++c)
        for (int64_t d = 0; d < s[3]; ++d)
          if (result.get(a, b, c, d) != rounded(expected[i++], result.array.dtype)) fail(what);
}

void test_problem(const Target& target) {
  Problem p{};
  p.batch = draw(1, 2);
  p.channels = draw(1, 20);
  p.multiplier = draw(1, 2);
  p.h = draw_axis(12);
  p.w = draw_axis(40);
  const auto t = static_cast<DType>(draw(0, 3)), W_type = draw(0, 1) ? t : static_cast<DType>(draw(0, 3));
  const bool last = draw(0, 1), at_end = draw(0, 1);
  const int64_t outs = p.channels * p.multiplier;
  Tensor x({p.batch, p.channels, p.h.size, p.w.size}, t, last, at_end);
  Tensor W({p.multiplier, p.channels, p.h.kernel, p.w.kernel}, W_type, false, at_end);
  Tensor y({p.batch, outs, p.h.out, p.w.out}, t, last, at_end);
  const int threads = static_cast<int>(draw(1, 2));
  const auto run = [&](Pass pass, const Tensor& x, const Tensor& W, const Tensor& y) {
    p.pass = pass;
    p.x = x.array;
    p.W = W.array;
    p.y = y.array;
    execute(Plan(p, target, threads), pool());
  };
  std::vector<double> expected(y.bytes / static_cast<size_t>(item_bytes(t)));
  for_products(p,
               [&](int64_t n, int64_t c, int64_t m, int64_t i, int64_t j, int64_t k, int64_t l, int64_t r, int64_t s) {
                 const int64_t at = ((n * outs + c * p.multiplier + m) * p.h.out + i) * p.w.out + j;
                 expected[static_cast<size_t>(at)] += x.get(n, c, r, s) * W.get(m, c, k, l);
               });
  run(Pass::forward, x, W, y);
  check(y, expected, "forward");

  const Tensor gy({p.batch, outs, p.h.out, p.w.out}, t, last, at_end);
  const Tensor gx({p.batch, p.channels, p.h.size, p.w.size}, t, last, at_end);
  expected.assign(gx.bytes / static_cast<size_t>(item_bytes(t)), 0);
  std::vector<double> expected_w(W.bytes / static_cast<size_t>(item_bytes(W_type)));
  for_products(p,
               [&](int64_t n, int64_t c, int64_t m, int64_t i, int64_t j, int64_t k, int64_t l, int64_t r, int64_t s) {
                 const double g = gy.get(n, c * p.multiplier + m, i, j);
                 const int64_t at = ((n * p.channels + c) * p.h.size + r) * p.w.size + s;
                 expected[static_cast<size_t>(at)] += g * W.get(m, c, k, l);
                 const int64_t tap = ((m * p.channels + c) * p.h.kernel + k) * p.w.kernel + l;
                 expected_w[static_cast<size_t>(tap)] += g * x.get(n, c, r, s);
               });
  run(Pass::input_grad, gx, W, gy);
  check(gx, expected, "input gradient");
  std::vector<double> expected_b(static_cast<size_t>(outs));
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t i = 0; i < p.h.out; ++i)
        for (int64_t j = 0; j < p.w.out; ++j) expected_b[static_cast<size_t>(o)] += gy.get(n, o, i, j);
  const Tensor gW({p.multiplier, p.channels, p.h.kernel, p.w.kernel}, W_type, false, at_end);
  const Tensor gb({outs, 1, 1, 1}, W_type, false, at_end);
  if (draw(0, 1)) p.b = gb.array;
  run(Pass::weight_grad, x, gW, gy);
  check(gW, expected_w, "weight gradient");
  if (p.b.data) check(gb, expected_b, "bias gradient");

  if (draw(0, 9)) return;
  const Tensor no_filter({0, p.channels, p.h.kernel, p.w.kernel}, W_type, false, at_end);
  const Tensor no_gy({p.batch, 0, p.h.out, p.w.out}, t, last, at_end);
  const int64_t multiplier = std::exchange(p.multiplier, 0);
  run(Pass::input_grad, gx, no_filter, no_gy);
  check(gx, std::vector<double>(expected.size()), "input gradient of no filters");
  run(Pass::forward, x, no_filter, no_gy);
  run(Pass::weight_grad, x, no_filter, no_gy);
  p.multiplier = multiplier;
  (draw(0, 1) ? p.h : p.w).out = 0;
  const Tensor none({p.batch, outs, p.h.out, p.w.out}, t, last, at_end);
  run(Pass::weight_grad, x, gW, none);
  check(gW, std::vector<double>(expected_w.size()), "weight gradient of no outputs");
  if (p.b.data) check(gb, std::vector<double>(expected_b.size()), "bias gradient of no outputs");
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
