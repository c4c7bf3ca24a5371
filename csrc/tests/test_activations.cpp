// Activations and their gradients on every target that this CPU runs: errors against long double, special values, and
// that no bit hangs on a value's place. With 1 as its argument it takes every float32.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "../targets.hpp"
#include "activations.hpp"

namespace depthwise {
#define TARGET(name) extern const Activations name##_activations[2];
DEPTHWISE_BUILT_TARGETS
#undef TARGET
}  // namespace depthwise

using namespace depthwise;

namespace {

constexpr Activation kinds[] = {Activation::none,      Activation::silu, Activation::relu,     Activation::relu6,
                                Activation::hardswish, Activation::gelu, Activation::gelu_tanh};
const char* const names[] = {"none", "silu", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"};

std::mt19937_64 random_bits(1);
const char* target_name = "";

void check(bool holds, const char* what, Activation kind, double x = 0) {
  if (holds) return;
  std::fprintf(stderr, "FAILED on %s: %s of %s at %a\n", target_name, what, names[static_cast<int>(kind)], x);
  std::exit(1);
}

// A number as a double and what it lacks.
struct Constant {
  double high, low;
};
constexpr Constant root_half{0x1.6a09e667f3bcdp-1, -4.833646656726456518593584e-17};
constexpr Constant linear{0x1.9884533d43651p+0, -9.969308809110920314576553e-17};
constexpr Constant cubic{0x1.2444f2a4d8b4bp-4, -6.175149918155315453375636e-19};
constexpr Constant density{0x1.9884533d43651p-2, -2.492327202277730078644138e-17};

// R is the type that the truth is computed in: it has at least eleven digits more than E.
template <class E>
using Wide = std::conditional_t<sizeof(E) == 4, double, long double>;

// The distribution function of the normal distribution. What the argument of erfc was rounded by is made up for.
template <class R>
R normal(R x) {
  const R y = x * root_half.high, rounded_by = std::fma(x, R{root_half.high}, -y) + x * root_half.low;
  return (std::erfc(-y) + 2 * std::exp(-y * y) * R(0.56418958354775628695L) * rounded_by) / 2;
}

template <class R>
R bell(R x) {
  const R y = x * x;
  return (R{density.high} + density.low) * std::exp(-y / 2) * (1 - std::fma(x, x, -y) / 2);
}

// e^-a, a = x (linear + cubic x^2), from a rounded value and what it was rounded by.
template <class R>
R power_of_tanh(R x, R* a) {
  const R square = x * x, square_low = std::fma(x, x, -square);
  const R product = cubic.high * square;
  const R product_low = std::fma(R{cubic.high}, square, -product) + cubic.high * square_low + cubic.low * square;
  const R sum = product + linear.high, back = sum - product;
  const R sum_low = (product - (sum - back)) + (linear.high - back) + product_low + linear.low;
  *a = x * sum;
  return std::exp(-*a) * (1 - (std::fma(x, sum, -*a) + x * sum_low));
}

template <class E>
Wide<E> true_value(Activation kind, E value) {
  using R = Wide<E>;
  const R x = value;
  R a;
  switch (kind) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return x * normal(x);
    case Activation::gelu_tanh:
      return x > 30 ? x : x / (1 + power_of_tanh(std::max(x, R{-30}), &a));
    case Activation::hardswish: {
      const E product = value * std::max(value + 3, E{0});
      return value < 3 ? product / 6 : value;
    }
    case Activation::relu:
      return value < 0 ? E{0} : value;
    case Activation::relu6:
      return value < 0 ? E{0} : value > 6 ? E{6} : value;
    case Activation::none:
      break;
  }
  return x;
}

// Units in the last place: docs/numerics.md says these bounds.
double bound(Activation kind) {
  switch (kind) {
    case Activation::silu:
      return 2;
    case Activation::gelu:
    case Activation::gelu_tanh:
      return 4;
    default:
      return 0;
  }
}

// The distance from the truth in units of its last place, which for subnormal numbers is their distance.
template <class E>
double error_of(E value, Wide<E> truth) {
  int exponent;
  std::frexp(truth, &exponent);
  using Limits = std::numeric_limits<E>;
  const int unit = std::max(exponent - Limits::digits, Limits::min_exponent - Limits::digits);
  return static_cast<double>(std::ldexp(std::abs(static_cast<Wide<E>>(value) - truth), -unit));
}

// What the derivative is, and the sum of its terms' magnitudes, which errors are measured by.
template <class R>
struct Slope {
  R value, size;
};

template <class R>
Slope<R> true_slope(Activation kind, R x) {
  const R most = 100, low = std::min(std::max(x, -most), most);
  R a;
  switch (kind) {
    case Activation::silu: {
      const R power = std::exp(-x), share = 1 / (1 + power), rest = 1 / (1 + 1 / power);
      const R second = x * rest;
      return {share * (1 + second), share * (1 + std::abs(second))};
    }
    case Activation::gelu:
      return {normal(x) + x * bell(x), normal(x) + std::abs(x) * bell(x)};
    case Activation::gelu_tanh: {
      const R power = power_of_tanh(low, &a), share = 1 / (1 + power), rest = 1 / (1 + 1 / power);
      const R second = low * rest * (linear.high + 3 * cubic.high * low * low);
      // An error of the exponent is multiplied by it.
      return {share * (1 + second), share * (1 + std::abs(second)) * (1 + std::abs(a) * rest)};
    }
    case Activation::hardswish:
      return {x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + R(0.5), 1};
    case Activation::relu:
      return {x > 0 ? R{1} : R{0}, 0};
    case Activation::relu6:
      return {x > 0 && x < 6 ? R{1} : R{0}, 0};
    case Activation::none:
      break;
  }
  return {1, 0};
}

// In unit roundoffs of a slope's size.
double slope_bound(Activation kind) {
  switch (kind) {
    case Activation::silu:
      return 6;
    case Activation::gelu:
    case Activation::gelu_tanh:
      return 5;
    case Activation::hardswish:
      return 2;
    default:
      return 0;
  }
}

template <class E>
std::vector<E> gradient(const Activations& calls, Activation kind, std::vector<E> z, std::vector<E> gy) {
  constexpr DType dtype = sizeof(E) == 4 ? DType::f32 : DType::f64;
  const auto count = static_cast<int64_t>(z.size());
  std::vector<E> gz(z.size());
  const int64_t piece = std::min<int64_t>(count, 100), pieces = (count + piece - 1) / piece;
  const ActivationGradient job{.activation = kind,
                               .z = {z.data(), dtype, {0, 0, 0, 0, 1}},
                               .gy = {gy.data(), dtype, {0, 0, 0, 0, 1}},
                               .gz = {gz.data(), dtype, {0, 0, 0, 0, 1}},
                               .sizes = {1, 1, 1, 1, count},
                               .piece = piece,
                               .pieces = pieces,
                               .units = pieces};
  void* const scratch = std::aligned_alloc(64, static_cast<size_t>(calls.gradient.scratch_bytes(job) + 63) / 64 * 64);
  calls.gradient.run(job, 0, job.units, scratch);
  std::free(scratch);
  return gz;
}

template <class E>
struct Worst {
  double value = 0, slope = 0, value_at = 0, slope_at = 0;

  void take(const Activations& calls, Activation kind, const std::vector<E>& x) {
    using R = Wide<E>;
    std::vector<E> y = x;
    calls.span(kind, y.data(), static_cast<int64_t>(y.size()));
    const std::vector<E> gz = gradient(calls, kind, x, std::vector<E>(x.size(), E{1}));
    // Powers of e that are not normal are 0.
    const R floor = std::ldexp(R{1}, std::numeric_limits<E>::min_exponent + 12);
    const R unit = std::ldexp(R{1}, -std::numeric_limits<E>::digits);
    for (size_t i = 0; i < x.size(); ++i) {
      const double error = error_of(y[i], true_value(kind, x[i]));
      if (!(error <= value)) value = error, value_at = static_cast<double>(x[i]);
      check(y[i] != 0 ||
                std::signbit(y[i]) == (std::signbit(x[i]) && kind != Activation::relu && kind != Activation::relu6) ||
                x[i] == 0,
            "sign of a zero", kind, static_cast<double>(x[i]));
      const auto [truth, size] = true_slope<R>(kind, x[i]);
      const R allowed = size * unit, off = std::max(std::abs(static_cast<R>(gz[i]) - truth) - floor, R{0});
      const double share = off == 0 ? 0 : static_cast<double>(off / allowed);
      if (!(share <= slope)) slope = share, slope_at = static_cast<double>(x[i]);
    }
  }

  void report(Activation kind) const {
    std::printf("%-7s %-10s float%d: %.3f units in the last place at %a, slope %.3f roundoffs at %a\n", target_name,
                names[static_cast<int>(kind)], 8 * static_cast<int>(sizeof(E)), value, value_at, slope, slope_at);
    check(value <= bound(kind), "error", kind, value_at);
    check(slope <= slope_bound(kind), "error of the gradient", kind, slope_at);
  }
};

constexpr size_t at_once = 1 << 14;

void test_float32(const Activations& calls, Activation kind, uint64_t step) {
  Worst<float> worst;
  std::vector<float> x;
  for (uint64_t bits = 0; bits >> 32 == 0; bits += step) {
    const auto word = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    if (std::isfinite(value)) x.push_back(value);
    if (x.size() == at_once) {
      worst.take(calls, kind, x);
      x.clear();
    }
  }
  worst.take(calls, kind, x);
  worst.report(kind);
}

// Of every magnitude, and more where the functions bend, and about the ends of what is not 0, x or subnormal.
void test_float64(const Activations& calls, Activation kind, int rounds) {
  Worst<double> worst;
  std::uniform_real_distribution<> middle(-12, 8), all(-800, 50), bits_of_size(-1074, 1024);
  std::vector<double> x(at_once);
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < x.size(); ++i) {
      const double size = std::exp2(bits_of_size(random_bits));
      x[i] = i % 4 == 0 ? all(random_bits) : i % 4 == 1 ? (i & 4 ? size : -size) : middle(random_bits);
      if (i % 16 == 2) x[i] *= 4;  // the tails of gelu
    }
    worst.take(calls, kind, x);
  }
  worst.report(kind);
}

template <class E>
bool same(E a, E b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

template <class E>
void test_special(const Activations& calls, Activation kind) {
  const E infinity = std::numeric_limits<E>::infinity(), nan = std::numeric_limits<E>::quiet_NaN();
  const bool bounded = kind == Activation::relu6, smooth = bound(kind) > 0;
  const bool one_sided = kind == Activation::relu || bounded;
  const struct {
    E x, y;
  } values[] = {{nan, nan},
                {infinity, bounded ? 6 : infinity},
                // As PyTorch: -inf * 0.
                {-infinity, kind == Activation::none ? -infinity
                            : one_sided              ? E{0}
                                                     : nan},
                {std::numeric_limits<E>::max(), bounded ? 6 : std::numeric_limits<E>::max()},
                {E{0}, E{0}},
                {-E{0}, -E{0}}};
  for (const auto& [x, y] : values) {
    E found = x;
    calls.span(kind, &found, 1);
    check(same(found, y), "special value", kind, static_cast<double>(x));
  }
  const E two = 2, all = kind == Activation::none ? two : E{0};
  const struct {
    E z, gz;
  } slopes[] = {{infinity, bounded ? 0 : two},
                {-infinity, all},
                {std::numeric_limits<E>::max(), bounded ? 0 : two},
                {std::numeric_limits<E>::lowest(), all},
                {nan, one_sided                  ? E{0}
                      : kind == Activation::none ? two
                                                 : nan},
                {E{0}, kind == Activation::none ? two
                       : one_sided              ? E{0}
                                                : E{1}},
                {-E{0}, kind == Activation::none ? two
                        : one_sided              ? E{0}
                                                 : E{1}}};
  for (const auto& [z, gz] : slopes) {
    const E found = gradient<E>(calls, kind, {z}, {two})[0];
    check(found == gz || (std::isnan(found) && std::isnan(gz)), "special slope", kind, static_cast<double>(z));
  }
  if (one_sided) check(gradient<E>(calls, kind, {-1}, {infinity})[0] == 0, "slope of an infinite gy", kind);
  if (!smooth && kind == Activation::hardswish)
    check(gradient<E>(calls, kind, {-3, 3}, {1, 1}) == std::vector<E>{0, 1}, "slope of the corners", kind);
  if (bounded) check(gradient<E>(calls, kind, {6, 0}, {1, 1}) == std::vector<E>{0, 0}, "slope of the corners", kind);
}

// A value's bits are the same alone, in every lane, in a span's body and end; nothing beside a span is touched.
template <class E>
void test_places(const Activations& calls, Activation kind) {
  std::uniform_real_distribution<E> numbers(-12, 8);
  for (int64_t count = 0; count <= 3 * calls.lanes + 2; ++count) {
    std::vector<E> x(static_cast<size_t>(count) + 2);
    for (E& value : x) value = numbers(random_bits);
    std::vector<E> y = x;
    calls.span(kind, y.data() + 1, count);
    check(same(x.front(), y.front()) && same(x.back(), y.back()), "elements beside a span", kind);
    const std::vector<E> gz = gradient(calls, kind, x, x);
    for (size_t i = 0; i < x.size(); ++i) {
      E alone = x[i];
      calls.span(kind, &alone, 1);
      std::vector<E> vector(static_cast<size_t>(calls.lanes), x[i]);
      calls.vector(kind, vector.data());
      if (i > 0 && i + 1 < x.size()) check(same(y[i], alone), "place in a span", kind, static_cast<double>(x[i]));
      for (const E value : vector) check(same(value, alone), "lane", kind, static_cast<double>(x[i]));
      check(same(gz[i], gradient<E>(calls, kind, {x[i]}, {x[i]})[0]), "place in a gradient", kind,
            static_cast<double>(x[i]));
    }
  }
}

const struct {
  const char* name;
  const Activations* calls;
} all_activations[] = {
#define TARGET(name) {#name, name##_activations},
    DEPTHWISE_BUILT_TARGETS
#undef TARGET
};

}  // namespace

int main(int argc, char** argv) {
  // A prime, so that all bits of a mantissa are met.
  const uint64_t step = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 6007;
  const int rounds = step == 1 ? 1000 : 8;
  for (int i = 0; i < target_count; ++i)
    for (const auto& [name, calls] : all_activations) {
      if (std::strcmp(name, targets[i].name)) continue;
      if (!targets[i].supported()) {
        std::printf("skipped %s: this CPU cannot run it\n", name);
        continue;
      }
      target_name = name;
      for (const Activation kind : kinds) {
        test_special<float>(calls[0], kind);
        test_special<double>(calls[1], kind);
        test_places<float>(calls[0], kind);
        test_places<double>(calls[1], kind);
        test_float32(calls[0], kind, step);
        test_float64(calls[1], kind, rounds);
      }
    }
  std::printf("passed\n");
  return 0;
}
