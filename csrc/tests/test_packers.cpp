// What brings memory of any dtype and strides into the order of lanes, and back, on every target that this CPU runs:
// random, exact, against the plainest definition, and nothing beside it touched.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "../kernels/pack.hpp"
#include "../targets.hpp"
#include "packers.hpp"

namespace depthwise {
#define TARGET(name) extern const Packers name##_packers[2];
DEPTHWISE_BUILT_TARGETS
#undef TARGET
}  // namespace depthwise

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

size_t size(int64_t n) { return static_cast<size_t>(n); }

// Of every magnitude that a 16-bit float has and some beyond.
double draw_number() {
  const double mantissa = static_cast<double>(draw(-4096, 4096));
  return std::ldexp(mantissa, static_cast<int>(draw(-40, 8)));
}

// Numbers of any dtype, exactly as many as are asked for: a sanitizer sees what is read or written beside them.
struct Numbers {
  Numbers(int64_t count, DType t) : dtype(t), bytes(size(count * item_bytes(t))) {
    for (int64_t i = 0; i < count; ++i) set(i, draw_number());
  }
  void set(int64_t i, double v) {
    with_type(dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T value = convert<T>(v);
      std::memcpy(bytes.data() + i * Step{sizeof(T)}, &value, sizeof(T));
    });
  }
  double get(int64_t i) const { return load_as<double>(bytes.data(), dtype, i); }
  int64_t count() const { return static_cast<int64_t>(bytes.size()) / item_bytes(dtype); }

  DType dtype;
  std::vector<char> bytes;
};

DType draw_dtype() { return static_cast<DType>(draw(0, 3)); }

// As the target's conversions have to round.
double rounded(double v, DType t) {
  with_type(t, [&](auto type) { v = convert<double>(convert<typename decltype(type)::type>(v)); });
  return v;
}

// Strided memory; with `rows`, columns are neighbours.
struct Image {
  Image(int64_t channels, int64_t lines, int64_t cross_size, DType t, bool rows = false) : numbers(0, t) {
    int64_t sizes[3] = {channels, lines, cross_size}, order[3] = {0, 1, 2}, strides[3], step = 1, first = 0;
    if (rows)
      std::swap(order[0], order[2]);
    else
      std::shuffle(order, order + 3, random_bits);
    for (const int64_t axis : order) {
      strides[axis] = step * (draw(0, 3) || (rows && axis == 2) ? 1 : -1);
      if (strides[axis] < 0) first -= strides[axis] * (sizes[axis] - 1);
      step *= sizes[axis];
      step += draw(0, 2) ? 0 : draw(1, 9);
    }
    numbers = Numbers(first + 1 + reach(sizes, strides), t);
    side = {.data = numbers.bytes.data() + first * item_bytes(t),
            .dtype = t,
            .batch = 0,
            .channel = strides[0],
            .line = strides[1],
            .cross = strides[2],
            .lines = lines,
            .cross_size = cross_size,
            .direct = false};
    start = first;
  }
  Image(const Image&) = delete;
  double get(int64_t channel, int64_t line, int64_t cross) const {
    return numbers.get(start + at(channel, line, cross));
  }
  int64_t at(int64_t channel, int64_t line, int64_t cross) const {
    return channel * side.channel + line * side.line + cross * side.cross;
  }

  static int64_t reach(const int64_t (&sizes)[3], const int64_t (&strides)[3]) {
    int64_t last = 0;
    for (int i = 0; i < 3; ++i) last += std::max<int64_t>(0, strides[i] * (sizes[i] - 1));
    return last;
  }

  Numbers numbers;
  Side side;
  int64_t start;
};

// What a packer may use, aligned as the engine aligns it, and with nothing in it that is of use.
struct Scratch {
  explicit Scratch(int64_t doubles) : memory(size(doubles + 8), std::nan("")) {
    data = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t{63});
  }
  std::vector<double> memory;
  void* data;
};

void test_spans(const Packers& p, DType sums) {
  const int64_t count = draw(0, 70), apart = draw(0, 1) ? 1 : draw(2, 9), step = draw(0, 3) ? apart : -apart;
  const int64_t first = step < 0 ? (count ? (count - 1) * apart : 0) : 0, reach = count ? (count - 1) * apart + 1 : 0;
  const Numbers memory(reach, draw_dtype());
  const Numbers before(count + 2, sums);
  Numbers wide = before;
  const int64_t item = item_bytes(memory.dtype);
  p.widen(memory.dtype, wide.bytes.data() + item_bytes(sums), memory.bytes.data() + first * item, step, count);
  for (int64_t i = 0; i < count; ++i)
    check(wide.get(i + 1) == rounded(memory.get(first + i * step), sums), "widen_span");
  check(wide.get(0) == before.get(0) && wide.get(count + 1) == before.get(count + 1), "widen_span: beside");
  if (count) {
    p.widen(memory.dtype, wide.bytes.data() + item_bytes(sums), memory.bytes.data(), 0, count);
    for (int64_t i = 0; i < count; ++i)
      check(wide.get(i + 1) == rounded(memory.get(0), sums), "widen_span: one element for all");
  }

  Numbers narrow = memory;
  p.narrow(memory.dtype, narrow.bytes.data() + first * item, step, before.bytes.data(), count);
  for (int64_t i = 0; i < reach; ++i) {
    const bool hit = (i - first) % step == 0;
    const double expected = hit ? rounded(before.get((i - first) / step), memory.dtype) : memory.get(i);
    check(narrow.get(i) == expected, "narrow_span");
  }
}

void test_gather(const Packers& p, DType sums) {
  const int64_t step = draw(-9, 9), reach = (p.lanes - 1) * std::abs(step), first = step < 0 ? reach : 0;
  const Numbers memory(reach + 1, sums == DType::f64 ? sums : static_cast<DType>(draw(0, 2)));
  Numbers vector(p.lanes, sums);
  p.gather(memory.dtype, vector.bytes.data(), memory.bytes.data() + first * item_bytes(memory.dtype), step);
  for (int64_t l = 0; l < p.lanes; ++l) check(vector.get(l) == memory.get(first + l * step), "gather");
}

void test_transposed(const Packers& p, DType sums) {
  const int64_t columns = draw(1, 40), lane = columns + draw(0, 3), planes = (p.lanes - 1) * lane + columns;
  const Numbers memory(planes, sums);
  Numbers pixels(columns * p.lanes, sums);
  p.columns_to_pixels(pixels.bytes.data(), memory.bytes.data(), lane, columns);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t l = 0; l < p.lanes; ++l)
      check(pixels.get(i * p.lanes + l) == memory.get(l * lane + i), "columns_to_pixels");
  const Numbers before(planes, sums);
  Numbers back = before;
  p.pixels_to_columns(back.bytes.data(), lane, pixels.bytes.data(), columns);
  for (int64_t i = 0; i < planes; ++i)
    check(back.get(i) == (i % lane < columns ? memory.get(i) : before.get(i)), "pixels_to_columns");
}

// Channels as lanes take them: see Packers.
struct Lanes {
  explicit Lanes(const Packers& p)
      : lanes(p.lanes), divide(draw(0, 1) ? 1 : draw(1, 3)), sum(divide == 1 && draw(0, 1) ? draw(1, 3) : 1) {
    channels = draw(1, 3 * lanes) * divide;
    v = draw(0, (channels - 1) / lanes);
    memory_channels = channels / divide * sum;
  }
  // The channel of memory, or -1.
  int64_t channel(int64_t l, int64_t k) const {
    const int64_t o = v * lanes + l;
    return o < channels ? o / divide * sum + k : -1;
  }
  int64_t lanes, divide, sum, channels, v, memory_channels;
};

void test_pixels(const Packers& p, DType sums) {
  const Lanes lanes(p);
  const int64_t lines = draw(1, 150), cross = draw(1, 3), row = draw(0, cross - 1), first = draw(0, lines - 1);
  const int64_t columns = draw(1, lines - first), k = draw(0, lanes.sum - 1);
  const Image image(lanes.memory_channels, lines, cross, draw_dtype());
  Scratch scratch(p.lanes * 64);
  Numbers pixels(columns * p.lanes, sums);
  p.load_pixels(image.side, lanes.channels, lanes.divide, lanes.sum, pixels.bytes.data(), image.at(0, first, row),
                lanes.v, k, columns, scratch.data);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t l = 0; l < p.lanes; ++l) {
      const int64_t channel = lanes.channel(l, k);
      const double expected = channel < 0 ? 0 : rounded(image.get(channel, first + i, row), sums);
      check(pixels.get(i * p.lanes + l) == expected, "PackedPixels::load");
    }
}

void test_stored_pixels(const Packers& p, DType sums) {
  const int64_t channels = draw(1, 3 * p.lanes), v = draw(0, (channels - 1) / p.lanes), lines = draw(1, 150);
  const int64_t cross = draw(1, 3), row = draw(0, cross - 1), first = draw(0, lines - 1);
  const int64_t columns = draw(1, lines - first);
  const Image image(channels, lines, cross, draw_dtype());
  const Numbers pixels(columns * p.lanes, sums);
  const std::vector<char> before = image.numbers.bytes;
  std::vector<char> expected = before;
  const int64_t item = item_bytes(image.side.dtype);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t l = 0; l < p.lanes && v * p.lanes + l < channels; ++l) {
      const int64_t at = image.start + image.at(v * p.lanes + l, first + i, row);
      Numbers one(1, image.side.dtype);
      one.set(0, pixels.get(i * p.lanes + l));
      std::memcpy(expected.data() + at * item, one.bytes.data(), size(item));
    }
  Scratch scratch(p.lanes * 64);
  p.store_pixels(image.side, channels, pixels.bytes.data(), image.at(0, first, row), v, columns, scratch.data);
  check(image.numbers.bytes == expected, "PackedPixels::store");
}

void test_windows(const Packers& p, DType sums) {
  const Lanes lanes(p);
  const int64_t height = draw(1, 20), width = draw(1, 12), step = draw(1, 4), u0 = draw(0, 5), u1 = u0 + draw(1, 6);
  const Image image(lanes.memory_channels, width, height, draw_dtype());
  std::vector<CrossTap> taps(size(draw(1, 7)));
  int64_t in0 = draw(-12, 4);
  for (CrossTap& tap : taps) {
    tap = {.in0 = in0, .tap = 0};
    in0 += draw(1, 6);
  }
  const auto count = static_cast<int64_t>(taps.size());
  const int64_t begin = draw(0, width - 1), end = draw(begin + 1, width), columns = draw(end - begin, width);
  const int64_t rows = count * (u1 - u0);
  Scratch scratch(p.lanes * 64 + 4 * count + lanes.sum * rows * columns * p.lanes + 32);
  std::vector<int64_t> place(taps.size());
  const void* packed = p.pack_windows(image.side, lanes.channels, lanes.divide, lanes.sum, rows, columns, taps.data(),
                                      count, step, u0, u1, lanes.v, begin, end, place.data(), scratch.data);
  for (int64_t o = 0; o < count; ++o)
    for (int64_t u = u0; u < u1; ++u) {
      const int64_t row = taps[size(o)].in0 + u * step, at = place[size(o)] + u - u0;
      check(at >= 0 && at < rows, "RowWindows: places are inside");
      if (row < 0 || row >= height) continue;
      for (int64_t k = 0; k < lanes.sum; ++k)
        for (int64_t i = begin; i < end; ++i)
          for (int64_t l = 0; l < p.lanes && lanes.channel(l, k) >= 0; ++l) {
            const int64_t pixel = (k * rows + at) * columns + i - begin;
            check(load_as<double>(packed, sums, pixel * p.lanes + l) ==
                      rounded(image.get(lanes.channel(l, k), i, row), sums),
                  "PackedWindows::pack");
          }
    }
}

Axis draw_axis() {
  for (;;) {
    Axis a{draw(1, 60), draw(1, 9), draw(1, 9), 0, draw(1, 4), draw(1, 40)};
    const int64_t padding = (a.out - 1) * a.stride + a.dilate * (a.kernel - 1) + 1 - a.size;
    if (padding < 0) continue;
    a.pad = draw(0, padding);
    return a;
  }
}

void test_lines(const Packers& p, DType sums) {
  const Axis rows{8, 1, 1, 0, 1, 8}, columns = draw_axis();
  const auto pass = static_cast<Pass>(draw(0, 1));
  const Lattice lattice(pass, rows, columns, no_axis, 4, false, false);
  const LatticeView view = lattice.view();
  const int64_t strip = p.lanes * draw(1, 3);
  const RowLayout layout(view, strip, p.lanes, view.cross_in_step <= 2 && draw(0, 1));
  const RowLayoutView row = layout.view();
  const int64_t width = pass == Pass::input_grad ? columns.out : columns.size;
  const int64_t strip_begin = strip * draw(0, 2), height = draw(1, 4), most = height + draw(0, 3);
  const Image image(1, draw(1, 9), width, draw_dtype(), draw(0, 1));
  const bool near = image.side.cross != 1 || draw(0, 1);
  struct Seen {
    const Image& image;
    const RowLayoutView& row;
    int64_t strip_begin, lanes;
    DType sums;
  } seen{image, row, strip_begin, p.lanes, sums};
  const auto see = [](void* what, int64_t line, const void* packed) {
    const auto& [image, row, strip_begin, lanes, sums] = *static_cast<const Seen*>(what);
    for (int64_t i = 0; i < row.count; ++i) {
      const Segment& s = row.segments[i];
      for (int64_t k = 0; k < s.length - lanes; ++k) {
        const int64_t column = s.residue + (strip_begin + s.shift + k) * row.step;
        const bool inside = column >= 0 && column < image.side.cross_size;
        const double expected = inside ? rounded(image.get(0, line, column), sums) : 0;
        check(load_as<double>(packed, sums, s.at + k) == expected, "PackedRows::lines");
      }
    }
  };
  Scratch scratch(4 * most * row.elements + 2 * row.longest + 4 * row.count + 128);
  p.pack_lines(image.side, row, strip_begin, most, height, near, see, &seen, scratch.data);
}

void test_weights(const Packers& p, DType sums) {
  const int64_t divide = draw(0, 1) ? 1 : draw(1, 3), sum = divide == 1 && draw(0, 1) ? draw(1, 3) : 1;
  const int64_t channels = draw(1, 3 * p.lanes), height = draw(1, 5), width = draw(1, 5);
  Correlation job{};
  job.out_channels = channels * divide;
  job.divide = divide;
  job.sum = sum;
  job.kernel_depth = 1;
  job.kernel_lines = width;
  job.kernel_cross = height;
  const bool dense = draw(0, 1);
  job.W_line = dense ? 1 : draw(1, 2);
  job.W_cross = dense ? width : width * 2 + draw(0, 3);
  job.W_channel = height * job.W_cross + (draw(0, 1) ? 0 : draw(1, 9));
  job.W_multiplier = channels * job.W_channel;
  const Numbers W(divide * sum * job.W_multiplier, draw_dtype()), b(2 * channels * divide, draw_dtype());
  job.W = W.bytes.data();
  job.W_dtype = W.dtype;
  job.b = draw(0, 1) ? b.bytes.data() : nullptr;
  job.b_dtype = b.dtype;
  job.b_stride = 2;
  const int64_t vectors = (job.out_channels + p.lanes - 1) / p.lanes, taps = height * width;
  job.group = draw(1, vectors);
  const int64_t group = draw(0, (vectors - 1) / job.group);
  Scratch scratch((job.group * (sum * taps + 1) + taps) * p.lanes + 24);
  const void *weights = nullptr, *bias = nullptr;
  p.pack_weights(job, group, &weights, &bias, scratch.data);
  for (int64_t v = group * job.group; v < std::min(vectors, (group + 1) * job.group); ++v)
    for (int64_t l = 0; l < p.lanes; ++l) {
      const int64_t o = v * p.lanes + l, vector = v - group * job.group;
      const bool idle = o >= job.out_channels;
      check(load_as<double>(bias, sums, vector * p.lanes + l) == (idle || !job.b ? 0 : rounded(b.get(2 * o), sums)),
            "PackedWeights: bias");
      for (int64_t k = 0; k < sum; ++k)
        for (int64_t r = 0; r < height; ++r)
          for (int64_t s = 0; s < width; ++s) {
            const int64_t from =
                (o % divide + k) * job.W_multiplier + o / divide * job.W_channel + r * job.W_cross + s * job.W_line;
            const int64_t at = ((vector * sum + k) * taps + r * width + s) * p.lanes + l;
            check(load_as<double>(weights, sums, at) == (idle ? 0 : rounded(W.get(from), sums)), "PackedWeights");
          }
    }
}

const struct {
  const char* name;
  const Packers* packers;
} all_packers[] = {
#define TARGET(name) {#name, name##_packers},
    DEPTHWISE_BUILT_TARGETS
#undef TARGET
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3000;
  int passed = 0;
  for (int i = 0; i < target_count; ++i)
    for (const auto& [name, packers] : all_packers) {
      if (std::strcmp(name, targets[i].name)) continue;
      if (!targets[i].supported()) {
        std::printf("skipped %s: this CPU cannot run it\n", name);
        continue;
      }
      target_name = name;
      for (int round = 0; round < rounds; ++round)
        for (const bool wide : {false, true})
          for (const auto test : {test_spans, test_gather, test_transposed, test_pixels, test_stored_pixels,
                                  test_windows, test_lines, test_weights}) {
            test(packers[wide], wide ? DType::f64 : DType::f32);
            ++passed;
          }
    }
  std::printf("%d passed, 0 failed\n", passed);
  return 0;
}
