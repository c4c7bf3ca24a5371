#include "tile.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace depthwise::cuda {

namespace {

// Registers for weights, of which a GPU's thread has 168 where three blocks are to fit.
constexpr int most_weights = 49, most_taps_of_pairs = 12;

// Whether elements can be read so many at a time, from multiples of that along the axis whose elements are neighbours.
bool is_aligned(const Array& a, int64_t elements, int closest) {
  if (a.strides[closest] != 1 || reinterpret_cast<uintptr_t>(a.data) % (elements * item_bytes(a.dtype))) return false;
  for (int axis = 0; axis < array_axes; ++axis)
    if (axis != closest && a.strides[axis] % elements) return false;
  return true;
}

}  // namespace

Options& Options::add(const char* name, int64_t value) { return add(name, std::string_view(std::to_string(value))); }

Options& Options::add(const char* name, std::string_view value) {
  text_ += text_.empty() ? "-DDW_" : " -DDW_";
  text_ += name;
  text_ += '=';
  text_ += value;
  return *this;
}

int64_t share(int64_t count, int64_t most) { return count > 0 ? ceil_div(count, ceil_div(count, most)) : 1; }

Divisor divisor(int64_t by) {
  const auto d = static_cast<unsigned>(by);
  if (d <= 1) return {1, 0, 0};
  const int bits = 32 - std::countl_zero(d - 1);
  // ceil(2^(31 + bits) / d) fits 32 bits, and is exact for n < 2^31.
  const uint64_t multiplier = ((uint64_t{1} << (31 + bits)) + d - 1) / d;
  return {d, static_cast<unsigned>(multiplier), static_cast<unsigned>(bits - 1)};
}

Strides strides_of(const Array& a) { return {a.strides[0], a.strides[1], a.strides[2], a.strides[3], a.strides[4]}; }

const char* sum_of(const Problem& p) { return accumulator(p) == DType::f64 ? "double" : "float"; }

int64_t step_of(const Axis& a, bool gradient) {
  return !gradient ? a.dilate / std::gcd(a.stride, a.dilate) : a.stride == 1 ? a.dilate : 1;
}

int64_t lines_of(const Axis& a, int64_t outputs, int64_t taps, bool gradient) {
  const int64_t step = step_of(a, gradient);
  return gradient ? ((outputs - 1) * step + a.pad % a.stride) / a.stride + (taps - 1) * a.dilate / a.stride + 1
                  : (outputs - 1) * step * a.stride + (taps - 1) * a.dilate + 1;
}

int64_t tile_size(const Axis& a, int64_t outputs, int64_t most, bool gradient) {
  const int64_t step = step_of(a, gradient), beat = gradient ? a.stride : 1;
  const int64_t size = share(ceil_div(outputs, step), std::max<int64_t>(most, 1));
  return std::max<int64_t>(ceil_div(size, beat) * beat, beat);
}

int64_t tiles_of(const Axis& a, int64_t outputs, int64_t tile, bool gradient) {
  const int64_t step = step_of(a, gradient);
  // Of a dilated axis the tiles between the last outputs of a step and the next ones have none.
  return std::min(ceil_div(outputs, tile * step) * step, outputs <= step ? outputs : INT64_MAX);
}

int64_t registers(const Problem& p, const Tile& t) { return (accumulator(p) == DType::f64 ? 2 : 1) * t.channels(); }

void choose_chunk(const Problem& p, bool gradient, int64_t high, int64_t beat_cols, Tile& tile) {
  const int64_t rows = p.h.kernel, cols = p.w.kernel, most = most_weights / registers(p, tile);
  if (gradient) beat_cols = std::lcm(beat_cols, p.w.stride);
  const int64_t beat_rows = gradient ? p.h.stride : 1;
  const auto chunk = [](int64_t taps, int64_t limit, int64_t beat) {
    return std::min(taps, ceil_div(share(taps, std::max(limit, beat)), beat) * beat);
  };
  if (rows * cols <= most && rows <= most_taps_of_a_line && cols <= most_taps_of_a_line) {
    tile.tap_rows = rows;
    tile.tap_cols = cols;
    return;
  }
  const int64_t line = std::min<int64_t>(most_taps_of_a_line, most);
  tile.tap_rows = rows == 1 ? 1 : chunk(rows, std::min(high, line), beat_rows);
  tile.tap_cols = chunk(cols, std::min(line, most / tile.tap_rows), beat_cols);
}

bool reads_pairs(const Problem& p) {
  return p.h.kernel * p.w.kernel <= most_taps_of_pairs && item_bytes(p.x.dtype) == 2 && item_bytes(p.y.dtype) == 2 &&
         p.multiplier == 1 && p.channels % 2 == 0 && is_aligned(p.x, 2, 1) && is_aligned(p.y, 2, 1) &&
         accumulator(p) == DType::f32;
}

int64_t vector_of(const Array& a, int64_t cols) {
  const int64_t most = a.dtype == DType::f64 ? 2 : 4;
  for (const int64_t vector : {most, most / 2})
    if (vector > 1 && cols % vector == 0 && is_aligned(a, vector, width_axis)) return vector;
  return 1;
}

int64_t blocks_for(int64_t kept) { return kept <= 52 ? 5 : kept <= 72 ? 4 : 3; }

int64_t lanes_of_channels(int64_t units) {
  const int64_t lanes = share(units, 32);
  return lanes == units ? lanes : ceil_div(lanes, 8) * 8;
}

bool is_planar(const Array& written, const Axis& cols, int64_t channels) {
  return channels == 1 ||
         (cols.size > 1 && cols.out > 1 ? std::abs(written.strides[width_axis]) == 1 : written.strides[1] != 1);
}

}  // namespace depthwise::cuda
