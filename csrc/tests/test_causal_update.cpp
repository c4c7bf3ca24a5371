// Decode steps on every target that this CPU runs: random, exact, against the plainest definition. Arrays hold not an
// element more than they have to: a sanitizer sees what is read or written beside them.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "../causal_update.hpp"
#include "../kernels/pack.hpp"
#include "../pool.hpp"

using namespace depthwise;

namespace {

std::mt19937 random_bits(1);
const char* target_name = "";

int64_t draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED on %s: %s\n", target_name, what);
  std::exit(1);
}

// Small integers in an array of three axes, whose memory has them in one order or another.
struct Numbers {
  Numbers(int64_t a, int64_t b, int64_t c, DType t) : sizes{a, b, c}, dtype(t) {
    bool inner[3] = {};
    int64_t step = 1;
    for (int done = 0; done < 3;) {
      const auto axis = static_cast<size_t>(draw(0, 2));
      if (inner[axis]) continue;
      inner[axis] = true;
      strides[axis] = step;
      step *= sizes[axis];
      ++done;
    }
    bytes.resize(static_cast<size_t>(step * item_bytes(t)));
    for (int64_t i = 0; i < step; ++i) set(i, static_cast<double>(draw(-3, 3)));
  }
  int64_t at(int64_t a, int64_t b, int64_t c) const { return a * strides[0] + b * strides[1] + c * strides[2]; }
  double get(int64_t a, int64_t b, int64_t c) const { return load_as<double>(bytes.data(), dtype, at(a, b, c)); }
  void set(int64_t i, double v) {
    with_type(dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T value = convert<T>(v);
      std::memcpy(bytes.data() + i * Step{sizeof(T)}, &value, sizeof(T));
    });
  }
  Array array(int first_axis = 0) {
    Array out{bytes.data(), dtype, {}};
    for (int i = first_axis; i < 3; ++i) out.strides[i - first_axis] = strides[i];
    return out;
  }

  int64_t sizes[3], strides[3];
  DType dtype;
  std::vector<char> bytes;
};

void test_one(const Target& target) {
  const auto dtype = static_cast<DType>(draw(0, 3));
  const int64_t batch = draw(1, 3), channels = draw(0, 3) ? draw(1, 40) : draw(41, 700), width = draw(1, 6);
  const int64_t length = draw(0, 2) ? 1 : draw(1, 9), states = batch + draw(0, 2);
  const int64_t state_length = width - 1 + (draw(0, 1) ? draw(0, 3) : 0);
  Numbers x(batch, channels, length, dtype), y(batch, channels, length, dtype), W(1, channels, width, dtype);
  Numbers b(1, 1, channels, dtype), state(states, channels, state_length, dtype);
  std::vector<int64_t> rows, starts;
  for (int64_t n = 0; n < batch; ++n) {
    rows.push_back(draw(-1, states - 1));
    starts.push_back(draw(-9, 99));
  }
  const bool circle = draw(0, 3) == 0, indexed = draw(0, 3) == 0, biased = draw(0, 1);
  Numbers after = state, expected = y;
  for (int64_t n = 0; n < batch; ++n) {
    const int64_t row = indexed ? rows[static_cast<size_t>(n)] : n;
    for (int64_t c = 0; c < channels; ++c) {
      if (row < 0) {
        for (int64_t t = 0; t < length; ++t) expected.set(expected.at(n, c, t), 0);
        continue;
      }
      const int64_t start = circle ? starts[static_cast<size_t>(n)] : 0;
      const auto place = [&](int64_t i) { return ((start + i) % state_length + state_length) % state_length; };
      std::vector<double> line;
      for (int64_t i = 1 - width; i < 0; ++i) line.push_back(after.get(row, c, place(i)));
      for (int64_t t = 0; t < length; ++t) line.push_back(x.get(n, c, t));
      for (int64_t t = 0; t < length; ++t) {
        double sum = biased ? b.get(0, 0, c) : 0;
        for (int64_t k = 0; k < width; ++k) sum += W.get(0, c, k) * line[static_cast<size_t>(t + k)];
        expected.set(expected.at(n, c, t), sum);
      }
      for (int64_t t = 0; t < length && state_length; ++t) {
        if (!circle)
          for (int64_t i = 0; i + 1 < state_length; ++i) after.set(after.at(row, c, i), after.get(row, c, i + 1));
        after.set(after.at(row, c, circle ? place(t) : state_length - 1), x.get(n, c, t));
      }
    }
  }
  CausalUpdateProblem p{.batch = batch,
                        .channels = channels,
                        .length = length,
                        .width = width,
                        .states = states,
                        .state_length = state_length,
                        .x = x.array(),
                        .state = state.array(),
                        .W = W.array(1),
                        .b = biased ? b.array(2) : Array{},
                        .y = y.array()};
  if (circle) p.starts = {starts.data(), 1, 8};
  if (indexed) p.rows = {rows.data(), 1, 8};
  check(update_causally(p, target, static_cast<int>(draw(1, 3)), pool()), "arrays that lie apart are taken");
  check(y.bytes == expected.bytes, "y");
  check(state.bytes == after.bytes, "the state");

  rows.back() = states;
  p.rows = {rows.data(), 1, 8};
  bool refused = false;
  try {
    update_causally(p, target, 1, pool());
  } catch (const std::out_of_range&) {
    refused = true;
  }
  check(refused, "a state that is not there is refused");
  check(y.bytes == expected.bytes && state.bytes == after.bytes, "and nothing is written");
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 3000;
  for (int i = 0; i < target_count; ++i) {
    if (!targets[i].supported()) continue;
    target_name = targets[i].name;
    for (int k = 0; k < cases; ++k) test_one(targets[i]);
  }
  std::puts("decode steps are what their definition says");
}
