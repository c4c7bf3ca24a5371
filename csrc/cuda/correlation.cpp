#include <algorithm>
#include <stdexcept>

#include "passes.hpp"
#include "tile.hpp"

namespace depthwise::cuda {

namespace {

constexpr int largest_gradient_stride = 8;     // of a tile
constexpr int blocks_of_a_multiprocessor = 8;  // that are wanted before tiles grow

// Outputs along an axis of what is written, and the first of them: see Lattice and TileAxis.
struct Written {
  int64_t size, phase, read_first;
};

Written written_of(const Axis& a, bool gradient) {
  if (!gradient) return {a.out, 0, -a.pad};
  return {a.size, a.pad % a.stride, a.pad / a.stride};
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

}  // namespace

std::vector<Step> correlation_steps(const Problem& p, int multiprocessors) {
  return Correlation(p, multiprocessors).steps();
}

}  // namespace depthwise::cuda
