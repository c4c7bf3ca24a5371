#include "plan.hpp"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace depthwise::cuda {

namespace {

constexpr int64_t most_of_an_axis = int64_t{1} << 30;     // counted in 32 bits, with room for a tile beyond the end
constexpr int64_t most_threads = (int64_t{1} << 31) - 1;  // of a launch
constexpr int most_taps_of_a_line = 32;                   // of a chunk of a long kernel
constexpr int most_lines = 512;                           // of a tile: loops that a compiler unrolls
constexpr int largest_gradient_stride = 8;                // of a tile
constexpr int block = 128;                                // threads
constexpr int blocks_of_a_multiprocessor = 8;             // that are wanted before tiles grow, or parts become longer
constexpr int shared_lanes = 64;                          // most columns of a row that neighbouring threads have
constexpr int most_parts = 512;                           // of a weight gradient
// Registers for weights and for sums with them, of which a GPU's thread has 168 where three blocks are to fit.
constexpr int most_weights = 49, most_kept = 84, most_taps_of_pairs = 12;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Equal shares of at most `most`.
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

class Options {
 public:
  Options& add(const char* name, int64_t value) { return add(name, std::to_string(value)); }
  Options& add(const char* name, const std::string& value) {
    text_ += (text_.empty() ? "-DDW_" : " -DDW_") + std::string(name) + "=" + value;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

const char* sum_of(const Problem& p) { return accumulator(p) == DType::f64 ? "double" : "float"; }

int code(DType t) { return static_cast<int>(t); }

// Sizes of a tile and of a chunk of taps, and how memory is read and written.
struct Tile {
  bool tiled = true;
  int64_t rows = 1, cols = 1, tap_rows = 1, tap_cols = 1, spread = 0;
  int64_t read_vector = 1, read_shift = 0, written_vector = 1;
  bool pair = false;

  int64_t channels() const { return pair ? 2 : 1; }  // of a thread
};

int64_t step_of(const Axis& a, bool gradient) {
  return !gradient ? a.dilate / std::gcd(a.stride, a.dilate) : a.stride == 1 ? a.dilate : 1;
}

int64_t lines_of(const Axis& a, int64_t outputs, int64_t taps, bool gradient) {
  const int64_t step = step_of(a, gradient);
  return gradient ? ((outputs - 1) * step + a.pad % a.stride) / a.stride + (taps - 1) * a.dilate / a.stride + 1
                  : (outputs - 1) * step * a.stride + (taps - 1) * a.dilate + 1;
}

// Equal tiles of at most `most` outputs along an axis with so many of them; of a gradient whole strides.
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

// Registers that a float takes.
int64_t registers(const Problem& p, const Tile& t) { return (accumulator(p) == DType::f64 ? 2 : 1) * t.channels(); }

// Chunks of taps: the whole kernel where its weights fit the registers. Else they are as high as that is worth: a line
// that is loaded meets all rows of a chunk, and one that is loaded by columns all its columns. Chunks of columns are
// multiples of `beat_cols`; of a gradient with a stride a chunk begins where the pattern of taps that meet an output
// begins again.
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

// Whether elements can be read so many at a time, from multiples of that along the axis whose elements are neighbours.
bool is_aligned(const Array& a, int64_t elements, int closest) {
  if (a.strides[closest] != 1 || reinterpret_cast<uintptr_t>(a.data) % (elements * item_bytes(a.dtype))) return false;
  for (int axis = 0; axis < array_axes; ++axis)
    if (axis != closest && a.strides[axis] % elements) return false;
  return true;
}

// Pairs of channels, of 16 bits each, are read as words. Their weights and sums take twice the registers, which larger
// kernels lack for tiles of a size that is worth it.
bool reads_pairs(const Problem& p) {
  return p.h.kernel * p.w.kernel <= most_taps_of_pairs && item_bytes(p.x.dtype) == 2 && item_bytes(p.y.dtype) == 2 &&
         p.multiplier == 1 && p.channels % 2 == 0 && is_aligned(p.x, 2, 1) && is_aligned(p.y, 2, 1) &&
         accumulator(p) == DType::f32;
}

// Columns of planar rows that are read at a time: as many as 16 bytes hold or half as many, so that none are read in
// part.
int64_t vector_of(const Array& a, int64_t cols) {
  const int64_t most = a.dtype == DType::f64 ? 2 : 4;
  for (const int64_t vector : {most, most / 2})
    if (vector > 1 && cols % vector == 0 && is_aligned(a, vector, width_axis)) return vector;
  return 1;
}

int64_t shift_of(int64_t first, int64_t vector) { return (first % vector + vector) % vector; }

// Blocks that are to fit a multiprocessor, of what is kept in registers.
int64_t blocks_for(int64_t kept) { return kept <= 52 ? 5 : kept <= 72 ? 4 : 3; }

// Units, channels or pairs of them, that neighbouring threads have: whole sectors of 32 bytes.
int64_t lanes_of_channels(int64_t units) {
  const int64_t lanes = share(units, 32);
  return lanes == units ? lanes : ceil_div(lanes, 8) * 8;
}

// Outputs along an axis of what is written, and the first of them: see Lattice and TileAxis.
struct Written {
  int64_t size, phase, read_first;
};

Written written_of(const Axis& a, bool gradient) {
  if (!gradient) return {a.out, 0, -a.pad};
  return {a.size, a.pad % a.stride, a.pad / a.stride};
}

void check_sizes(const Problem& p) {
  if (p.d.kernel * p.h.kernel * p.w.kernel == 0)
    throw std::invalid_argument("a kernel without taps is none that a GPU takes");
  for (const Axis* a : {&p.d, &p.h, &p.w})
    for (const int64_t size : {a->size + a->pad + a->dilate * a->kernel, a->out, a->stride, a->pad, a->out * a->stride})
      if (size > most_of_an_axis)
        throw std::invalid_argument("an axis has more than 2**30 elements with its padding, which no GPU kernel takes");
  if (p.channels * p.multiplier > most_of_an_axis || p.batch > most_of_an_axis)
    throw std::invalid_argument("an array has more than 2**30 channels or images, which no GPU kernel takes");
}

void check_method(const Problem& p) {
  if (p.method == Method::fft)
    throw std::invalid_argument("method=\"fft\" is not made for GPU arrays: take \"direct\" or \"auto\"");
}

bool is_planar(const Array& written, const Axis& cols, int64_t channels) {
  return channels == 1 ||
         (cols.size > 1 && cols.out > 1 ? std::abs(written.strides[width_axis]) == 1 : written.strides[1] != 1);
}

// Plan of a forward pass, or of an input gradient of an image that zeros lie around.
class Correlation {
 public:
  Correlation(const Problem& p, int multiprocessors)
      : p_(p),
        gradient_(p.pass == Pass::input_grad),
        read_(gradient_ ? p.y : p.x),
        written_(gradient_ ? p.x : p.y),
        channels_(gradient_ ? p.channels : p.channels * p.multiplier),
        planar_(is_planar(written_, p.w, channels_)),
        rows_(written_of(p.h, gradient_)),
        cols_(written_of(p.w, gradient_)),
        wanted_threads_(int64_t{multiprocessors} * blocks_of_a_multiprocessor * block) {
    choose_tile();
  }

  std::vector<Step> steps() const {
    std::vector<Step> all;
    const int64_t of_image = threads_of_an_image(tile_);
    if (of_image > most_threads) throw std::invalid_argument("an image is too large for one launch of a GPU kernel");
    const int64_t images = of_image ? std::min(p_.batch, most_threads / of_image) : 0;
    if (images == 0) return all;
    const Kernel kernel = {"correlate.cuh", "correlate", options()};
    for (int64_t first = 0; first < p_.batch; first += images) {
      const int64_t count = std::min(images, p_.batch - first);
      CorrelateParameters parameters = shared_parameters();
      parameters.threads = static_cast<unsigned>(of_image * count);
      all.push_back({kernel,
                     static_cast<unsigned>(ceil_div(of_image * count, block)),
                     static_cast<unsigned>(block),
                     parameters,
                     {first * p_.x.strides[0], first * p_.y.strides[0]}});
    }
    return all;
  }

 private:
  int64_t depth() const { return gradient_ ? p_.d.size : p_.d.out; }

  int64_t kept(const Tile& t) const { return registers(p_, t) * (t.rows * t.cols + t.tap_rows * t.tap_cols); }

  void choose_tile() {
    const bool sequence = p_.h.kernel == 1 && rows_.size == 1;
    tile_.pair = !planar_ && reads_pairs(p_);
    choose_vector(sequence);
    if (tile_.read_vector == 1) choose_chunk(p_, gradient_, planar_ ? most_taps_of_a_line : 8, 1, tile_);
    const bool long_strides = gradient_ && std::max(p_.h.stride, p_.w.stride) > largest_gradient_stride;
    if (long_strides || lines_of(p_.h, 1, tile_.tap_rows, gradient_) > most_lines ||
        lines_of(p_.w, 1, tile_.tap_cols, gradient_) > most_lines) {
      tile_ = {.tiled = false};
      return;
    }
    if (tile_.read_vector > 1) {
      tile_.cols = tile_.read_vector * (gradient_ ? p_.w.stride : sequence ? 2 : 1);
    } else if (planar_ && sequence && !(gradient_ && p_.w.stride > 1) && cols_.size > 32) {
      tile_.spread = 32;
      tile_.cols = 4;
    } else {
      tile_.cols = tile_size(p_.w, cols_.size, planar_ ? 1 : sequence ? 16 : 4, gradient_);
    }
    while (tile_.cols > 1 && !tile_.spread && tile_.read_vector == 1 && lines_of_cols() > most_lines)
      tile_.cols = tile_size(p_.w, cols_.size, tile_.cols / 2, gradient_);
    const int64_t sums = most_kept / registers(p_, tile_) - tile_.tap_rows * tile_.tap_cols;
    int64_t most_rows = std::clamp<int64_t>(sums / tile_.cols, 1, planar_ && tile_.cols == 1 ? 16 : 8);
    if (tile_.read_vector > 1 && most_rows > 6 &&
        kept({.rows = 7, .cols = tile_.cols, .tap_rows = tile_.tap_rows, .tap_cols = tile_.tap_cols}) > 76)
      most_rows = 6;
    if (std::max(p_.h.stride, p_.w.stride) > 1) most_rows = ceil_div(most_rows, 2);
    for (;; most_rows = ceil_div(most_rows, 2)) {
      tile_.rows = tile_size(p_.h, rows_.size, most_rows, gradient_);
      const bool many_lines = lines_of(p_.h, tile_.rows, tile_.tap_rows, gradient_) > most_lines;
      if (most_rows == 1 || (most_rows == 2 && !many_lines)) break;
      if (threads_of_an_image(tile_) * p_.batch < wanted_threads_ / 4) continue;
      if (!many_lines) break;
    }
    tile_.written_vector = tile_.read_vector;
  }

  int64_t lines_of_cols() const { return lines_of(p_.w, tile_.cols, tile_.tap_cols, gradient_); }

  void choose_vector(bool sequence) {
    // Results that cannot be stored as vectors, too, would be stored by halves of sectors and less.
    const int64_t vector =
        planar_ ? std::min(vector_of(read_, gradient_ ? p_.w.out : p_.w.size), vector_of(written_, cols_.size)) : 1;
    if (vector == 1 || step_of(p_.w, gradient_) != 1 || p_.w.stride > 4) return;
    const int64_t beat = gradient_ ? vector * p_.w.stride : vector;
    choose_chunk(p_, gradient_, sequence ? 1 : 12, beat, tile_);
    const int64_t reach = gradient_ ? (tile_.tap_cols - 1) * p_.w.dilate / p_.w.stride : 0;
    tile_.read_vector = vector;
    tile_.read_shift = shift_of(cols_.read_first - reach, vector);
  }

  int64_t row_tiles(const Tile& t) const {
    return t.tiled ? tiles_of(p_.h, rows_.size, t.rows, gradient_) : rows_.size;
  }
  int64_t col_tiles(const Tile& t) const {
    if (!t.tiled) return cols_.size;
    return t.spread ? ceil_div(cols_.size, t.cols * t.spread) * t.spread
                    : tiles_of(p_.w, cols_.size, t.cols, gradient_);
  }

  // Digits of a thread's number: see CorrelateParameters.
  std::vector<int64_t> digits(const Tile& t) const {
    const int64_t rows = row_tiles(t), cols = col_tiles(t);
    if (planar_) {
      const int64_t lanes = t.spread ? t.spread : share(cols, shared_lanes), high = std::min<int64_t>(rows, 4);
      return {lanes, high, ceil_div(cols, lanes), ceil_div(rows, high), depth(), channels_};
    }
    const int64_t units = channels_ / t.channels(), lanes = lanes_of_channels(units);
    const int64_t wide = std::min<int64_t>(cols, 2), high = std::min<int64_t>(rows, 2);
    return {lanes, wide, high, ceil_div(units, lanes), ceil_div(cols, wide), ceil_div(rows, high), depth()};
  }

  int64_t threads_of_an_image(const Tile& t) const {
    if (rows_.size == 0 || cols_.size == 0 || depth() == 0 || channels_ == 0) return 0;
    int64_t threads = 1;
    for (const int64_t digit : digits(t)) threads *= digit;
    return threads;
  }

  std::string options() const {
    Options o;
    o.add("SUM", sum_of(p_)).add("READ", code(read_.dtype)).add("WEIGHT", code(p_.W.dtype));
    o.add("BIAS", code(p_.b.data ? p_.b.dtype : DType::f32)).add("WRITTEN", code(written_.dtype));
    o.add("GRADIENT", gradient_).add("PLANAR", planar_);
    o.add("KERNEL_ROWS", p_.h.kernel).add("KERNEL_COLS", p_.w.kernel);
    o.add("STRIDE_ROWS", p_.h.stride).add("STRIDE_COLS", p_.w.stride);
    o.add("DILATE_ROWS", p_.h.dilate).add("DILATE_COLS", p_.w.dilate);
    o.add("READ_COL", read_.strides[width_axis]).add("WRITTEN_COL", written_.strides[width_axis]);
    o.add("BORDER", static_cast<int>(gradient_ ? Border::constant : p_.border));
    o.add("ACTIVATION", static_cast<int>(p_.activation)).add("TILED", tile_.tiled);
    if (tile_.tiled) {
      o.add("ROWS", tile_.rows).add("COLS", tile_.cols).add("SPREAD", tile_.spread);
      o.add("TAP_ROWS", tile_.tap_rows).add("TAP_COLS", tile_.tap_cols).add("PAIR", tile_.pair);
      o.add("PHASE_ROWS", rows_.phase).add("PHASE_COLS", cols_.phase);
      o.add("READ_VECTOR", tile_.read_vector).add("READ_SHIFT", tile_.read_shift);
      o.add("WRITTEN_VECTOR", tile_.written_vector);
      o.add("SINGLE", p_.d.kernel == 1 && (!gradient_ || p_.multiplier == 1));
    } else {
      o.add("PAIR", 0);
    }
    return o.add("BLOCKS", blocks_for(kept(tile_))).add("THREADS", block).text();
  }

  CorrelateParameters shared_parameters() const {
    CorrelateParameters out{};
    out.b_stride = p_.b.strides[0];
    out.read_strides = strides_of(read_);
    out.written_strides = strides_of(written_);
    out.W_strides = strides_of(p_.W);
    const Axis* const axes[3] = {&p_.d, &p_.h, &p_.w};
    for (int i = 0; i < 3; ++i) {
      out.read_size[i] = static_cast<int>(gradient_ ? axes[i]->out : axes[i]->size);
      out.written_size[i] = static_cast<int>(gradient_ ? axes[i]->size : axes[i]->out);
    }
    out.depth = {static_cast<int>(p_.d.kernel), static_cast<int>(p_.d.stride), static_cast<int>(p_.d.dilate),
                 static_cast<int>(p_.d.pad)};
    out.rows = tile_axis(p_.h, rows_);
    out.cols = tile_axis(p_.w, cols_);
    out.filters = static_cast<int>(gradient_ ? p_.multiplier : 1);
    out.multiplier = divisor(p_.multiplier);
    out.channels = static_cast<int>(channels_);
    const auto each = digits(tile_);
    for (size_t i = 0; i < each.size(); ++i) out.digit[i] = divisor(each[i]);
    out.row_tiles = static_cast<int>(row_tiles(tile_));
    out.col_tiles = static_cast<int>(col_tiles(tile_));
    return out;
  }

  static TileAxis tile_axis(const Axis& a, const Written& w) {
    return {static_cast<int>(a.pad), static_cast<int>(w.read_first)};
  }

  const Problem& p_;
  const bool gradient_;
  const Array &read_, &written_;
  const int64_t channels_;
  const bool planar_;
  const Written rows_, cols_;
  const int64_t wanted_threads_;
  Tile tile_;
};

GpuPlan plan_of_weight_grad(const Problem& p, int multiprocessors) {
  GpuPlan plan;
  const int64_t outs = p.channels * p.multiplier;
  const bool planar = is_planar(p.x, p.w, p.channels);
  const bool has_bias = p.b.data;
  const bool sequence = p.h.kernel == 1 && p.h.out == 1;
  Tile tile;
  tile.pair = !planar && reads_pairs(p);
  const int64_t vector = planar ? std::min(vector_of(p.x, p.w.size), vector_of(p.y, p.w.out)) : 1;
  if (vector > 1 && step_of(p.w, false) == 1 && p.w.stride <= 4) {
    choose_chunk(p, false, sequence ? 1 : 12, vector, tile);
    tile.cols = vector * (sequence ? 2 : 1);
    tile.read_vector = tile.written_vector = vector;
    tile.read_shift = shift_of(-p.w.pad, vector);
  } else {
    choose_chunk(p, false, planar ? most_taps_of_a_line : 8, 1, tile);
    tile.cols = tile_size(p.w, p.w.out, planar ? 1 : sequence ? 8 : 4, false);
    if (planar && sequence && p.w.out > 32) {
      tile.spread = 32;
      tile.cols = 4;
    }
  }
  // Steps so large that lines of two taps lie too far apart: one tap at a time.
  if (lines_of(p.h, 1, tile.tap_rows, false) > most_lines) tile.tap_rows = 1;
  if (lines_of(p.w, tile.cols, tile.tap_cols, false) > most_lines && !tile.spread) {
    tile.tap_cols = tile.read_vector = tile.written_vector = tile.cols = 1;
    tile.read_shift = 0;
  }
  const int64_t sums = most_kept / registers(p, tile) - tile.tap_rows * tile.tap_cols;
  const int64_t most_rows =
      std::clamp<int64_t>(sums / tile.cols, 1, planar || tile.tap_rows * tile.tap_cols <= 25 ? 8 : 4);
  tile.rows = tile_size(p.h, p.h.out, most_rows, false);
  while (tile.rows > 1 && lines_of(p.h, tile.rows, tile.tap_rows, false) > most_lines)
    tile.rows = ceil_div(tile.rows, 2);

  const int64_t col_tiles =
      tile.spread ? ceil_div(p.w.out, tile.cols * tile.spread) * tile.spread : tiles_of(p.w, p.w.out, tile.cols, false);
  const int64_t row_tiles = tiles_of(p.h, p.h.out, tile.rows, false);
  const int64_t units = outs / tile.channels();
  const int64_t lanes = std::max<int64_t>(!planar       ? lanes_of_channels(std::max<int64_t>(units, 1))
                                          : tile.spread ? tile.spread
                                                        : share(std::max<int64_t>(col_tiles, 1), shared_lanes),
                                          1);
  const int64_t members = planar ? lanes : block / lanes, groups = planar ? block / lanes : lanes;
  const int64_t lines = planar ? ceil_div(col_tiles, lanes) : col_tiles;
  const int64_t items = p.batch * p.d.out * row_tiles * lines;
  const int64_t chunks = p.d.kernel * std::max<int64_t>(ceil_div(p.h.kernel, tile.tap_rows), 1) *
                         std::max<int64_t>(ceil_div(p.w.kernel, tile.tap_cols), 1);
  const int64_t out_blocks = planar ? outs : ceil_div(units, groups);
  const int64_t blocks_of_part = std::max<int64_t>(ceil_div(out_blocks * chunks, planar ? groups : 1), 1);
  const int64_t most = std::clamp<int64_t>(planar ? items : items / members, 1, most_parts);
  // As many blocks as fit the GPU at a time: a few more would take twice as long. Shares are then equal.
  const int64_t kept = registers(p, tile) * (tile.rows * tile.cols + tile.tap_rows * tile.tap_cols);
  const int64_t fitting = std::clamp<int64_t>(multiprocessors * blocks_for(kept) / blocks_of_part, 1, most);
  const int64_t sharers = planar ? 1 : members,
                items_of_a_share = std::max<int64_t>(ceil_div(items, fitting * sharers), 1);
  const int64_t parts = std::max<int64_t>(ceil_div(ceil_div(items, items_of_a_share), sharers), 1);
  const int64_t slots = tile.tap_rows * tile.tap_cols + has_bias, taps = p.d.kernel * p.h.kernel * p.w.kernel;
  const int64_t blocks = out_blocks * parts * chunks, totals = outs * (taps + has_bias);
  if (blocks > most_threads || totals > most_threads || items > most_of_an_axis)
    throw std::invalid_argument("the arrays are too large for one launch of a GPU kernel");
  if (totals == 0) return plan;
  const bool wide = accumulator(p) == DType::f64;
  plan.workspace = parts * chunks * slots * outs * (wide ? 8 : 4);

  Options o;
  o.add("SUM", sum_of(p)).add("READ", code(p.x.dtype)).add("WEIGHT", code(p.y.dtype));
  o.add("WRITTEN", code(p.W.dtype)).add("BIAS", code(has_bias ? p.b.dtype : DType::f32)).add("HAS_BIAS", has_bias);
  o.add("PLANAR", planar).add("KERNEL_ROWS", p.h.kernel).add("KERNEL_COLS", p.w.kernel);
  o.add("STRIDE_ROWS", p.h.stride).add("STRIDE_COLS", p.w.stride);
  o.add("DILATE_ROWS", p.h.dilate).add("DILATE_COLS", p.w.dilate);
  o.add("READ_COL", p.x.strides[width_axis]).add("WRITTEN_COL", p.y.strides[width_axis]);
  o.add("BORDER", static_cast<int>(p.border)).add("ROWS", tile.rows).add("COLS", tile.cols);
  o.add("SPREAD", tile.spread).add("TAP_ROWS", tile.tap_rows).add("TAP_COLS", tile.tap_cols).add("PAIR", tile.pair);
  o.add("READ_VECTOR", tile.read_vector).add("READ_SHIFT", tile.read_shift).add("WRITTEN_VECTOR", tile.written_vector);
  o.add("BLOCKS", blocks_for(kept)).add("THREADS", block);

  WeightGradParameters out{};
  out.x_strides = strides_of(p.x);
  out.gy_strides = strides_of(p.y);
  out.gW_strides = strides_of(p.W);
  const Axis* const axes[3] = {&p.d, &p.h, &p.w};
  for (int i = 0; i < 3; ++i) {
    out.x_size[i] = static_cast<int>(axes[i]->size);
    out.gy_size[i] = static_cast<int>(axes[i]->out);
  }
  out.depth = {static_cast<int>(p.d.kernel), static_cast<int>(p.d.stride), static_cast<int>(p.d.dilate),
               static_cast<int>(p.d.pad)};
  out.rows = {static_cast<int>(p.h.pad), static_cast<int>(-p.h.pad)};
  out.cols = {static_cast<int>(p.w.pad), static_cast<int>(-p.w.pad)};
  out.outs = static_cast<int>(outs);
  out.multiplier = divisor(p.multiplier);
  out.outs_divisor = divisor(outs);
  out.groups = static_cast<int>(groups);
  out.members = static_cast<int>(members);
  out.out_blocks = divisor(out_blocks);
  out.blocks = static_cast<unsigned>(blocks);
  out.parts = static_cast<int>(parts);
  out.chunks = static_cast<int>(chunks);
  out.parts_divisor = divisor(parts);
  out.items = static_cast<int>(items);
  out.col_tiles = divisor(lines);
  out.row_tiles = divisor(row_tiles);
  out.depths = divisor(p.d.out);
  const auto step = [&](const char* entry, int64_t grid) {
    return Step{{"weight_grad.cuh", entry, o.text()}, static_cast<unsigned>(grid), block, out, {}};
  };
  plan.steps = {step("weight_grad", planar ? ceil_div(blocks, groups) : blocks),
                step("weight_grad_total", ceil_div(totals, 32))};
  return plan;
}

// An input gradient whose padding holds the image's own elements: that of the padded image, which is then folded.
GpuPlan plan_of_folded(const Problem& p, int multiprocessors) {
  Problem padded = p;
  padded.border = Border::constant;
  const bool planar = is_planar(p.x, p.w, p.channels);
  int64_t elements = p.batch * p.channels;
  FoldParameters fold{};
  Axis* const axes[3] = {&padded.d, &padded.h, &padded.w};
  const Axis* const own[3] = {&p.d, &p.h, &p.w};
  for (int i = 0; i < 3; ++i) {
    // What windows meet, which may end before the padding does, or before the image.
    const int64_t met =
        own[i]->kernel ? (own[i]->out - 1) * own[i]->stride + (own[i]->kernel - 1) * own[i]->dilate + 1 : 0;
    axes[i]->size = std::max(met, own[i]->pad + own[i]->size);
    axes[i]->pad = 0;
    elements *= axes[i]->size;
    fold.size[i] = static_cast<int>(own[i]->size);
    fold.before[i] = static_cast<int>(own[i]->pad);
    fold.padded_size[i] = static_cast<int>(axes[i]->size);
  }
  padded.x.dtype = accumulator(p);
  int64_t stride = planar ? 1 : p.channels;
  for (int i = 2; i >= 0; --i) {
    padded.x.strides[depth_axis + i] = stride;
    stride *= axes[i]->size;
  }
  padded.x.strides[1] = planar ? stride : 1;
  padded.x.strides[0] = planar ? stride * p.channels : stride;

  GpuPlan plan;
  plan.workspace = elements * item_bytes(padded.x.dtype);
  plan.steps = Correlation(padded, multiprocessors).steps();
  for (Step& step : plan.steps) step.to_workspace = true;

  const int64_t threads = p.batch * p.channels * p.d.size * p.h.size * p.w.size;
  if (threads > most_threads)
    throw std::invalid_argument("an input gradient with this pad_mode is too large for one launch of a GPU kernel");
  if (threads == 0) return plan;
  fold.gx_strides = strides_of(p.x);
  const int64_t digits[4] = {p.w.size, p.h.size, p.d.size, p.channels};
  for (int i = 0; i < 4; ++i) fold.digit[planar ? i : (i + 1) % 4] = divisor(digits[i]);
  fold.threads = static_cast<unsigned>(threads);
  Options o;
  o.add("SUM", sum_of(p)).add("PLANAR", planar).add("WRITTEN", code(p.x.dtype));
  o.add("BORDER", static_cast<int>(p.border)).add("THREADS", block);
  plan.steps.push_back(
      {{"fold.cuh", "fold", o.text()}, static_cast<unsigned>(ceil_div(threads, block)), block, fold, {}});
  return plan;
}

}  // namespace

GpuPlan make_plan(const Problem& p, int multiprocessors) {
  check_method(p);
  check_sizes(p);
  if (p.pass == Pass::weight_grad) return plan_of_weight_grad(p, multiprocessors);
  if (p.pass == Pass::input_grad && p.border != Border::constant) return plan_of_folded(p, multiprocessors);
  return {Correlation(p, multiprocessors).steps(), 0};
}

Parameters addressed(const Step& step, const Problem& p, void* workspace) {
  const auto at = [](const Array& a, int64_t elements) -> void* {
    return static_cast<char*>(a.data) + elements * item_bytes(a.dtype);
  };
  Parameters all = step.parameters;
  if (auto* const correlate = std::get_if<CorrelateParameters>(&all)) {
    void *x = at(p.x, step.first.x), *y = at(p.y, step.first.y);
    if (step.to_workspace) x = static_cast<char*>(workspace) + step.first.x * item_bytes(accumulator(p));
    correlate->read = p.pass == Pass::forward ? x : y;
    correlate->written = p.pass == Pass::forward ? y : x;
    correlate->W = p.W.data;
    correlate->b = p.b.data;
  } else if (auto* const sums = std::get_if<WeightGradParameters>(&all)) {
    sums->x = p.x.data;
    sums->gy = p.y.data;
    sums->gW = p.W.data;
    sums->gb = p.b.data;
    sums->partial = workspace;
  } else {
    auto& fold = std::get<FoldParameters>(all);
    fold.padded = workspace;
    fold.gx = p.x.data;
  }
  return all;
}

}  // namespace depthwise::cuda
