#include <algorithm>
#include <stdexcept>

#include "passes.hpp"
#include "tile.hpp"

namespace depthwise::cuda {

namespace {

constexpr int most_parts = 512;

// Tiles of all images are dealt out to `parts` of blocks, whose sums a second launch adds up.
class WeightGrad {
 public:
  WeightGrad(const Problem& p, int multiprocessors)
      : p_(p),
        planar_(is_planar(p.x, p.w, p.channels)),
        sequence_(p.h.kernel == 1 && p.h.out == 1),
        has_bias_(p.b.data),
        outs_(p.channels * p.multiplier) {
    choose_tile();
    share_out(multiprocessors);
  }

  GpuPlan plan() const {
    const int64_t totals = outs_ * (p_.d.kernel * p_.h.kernel * p_.w.kernel + has_bias_);
    if (blocks_ > most_threads || totals > most_threads || items_ > most_of_an_axis)
      throw std::invalid_argument("the arrays are too large for one launch of a GPU kernel");
    GpuPlan plan;
    if (totals == 0) return plan;
    const int64_t slots = tile_.tap_rows * tile_.tap_cols + has_bias_;
    plan.workspace = parts_ * chunks_ * slots * outs_ * item_bytes(accumulator(p_));
    const std::string compiled = options();
    const WeightGradParameters told = parameters();
    const auto step = [&](const char* entry, int64_t grid) {
      return Step{{"weight_grad.cuh", entry, compiled}, static_cast<unsigned>(grid), block, told, {}};
    };
    plan.steps = {step("weight_grad", planar_ ? ceil_div(blocks_, groups_) : blocks_),
                  step("weight_grad_total", ceil_div(totals, 32))};
    return plan;
  }

 private:
  void choose_tile() {
    tile_.pair = !planar_ && reads_pairs(p_);
    const int64_t vector = planar_ ? std::min(vector_of(p_.x, p_.w.size), vector_of(p_.y, p_.w.out)) : 1;
    if (vector > 1 && step_of(p_.w, false) == 1 && p_.w.stride <= 4) {
      choose_chunk(p_, false, sequence_ ? 1 : 12, vector, tile_);
      tile_.cols = vector * (sequence_ ? 2 : 1);
      tile_.read_vector = tile_.written_vector = vector;
      tile_.read_shift = shift_of(-p_.w.pad, vector);
    } else {
      choose_chunk(p_, false, planar_ ? most_taps_of_a_line : 8, 1, tile_);
      tile_.cols = tile_size(p_.w, p_.w.out, planar_ ? 1 : sequence_ ? 8 : 4, false);
      if (planar_ && sequence_ && p_.w.out > 32) {
        tile_.spread = 32;
        tile_.cols = 4;
      }
    }
    // Steps so large that lines of two taps lie too far apart: one tap at a time.
    if (lines_of(p_.h, 1, tile_.tap_rows, false) > most_lines) tile_.tap_rows = 1;
    if (lines_of(p_.w, tile_.cols, tile_.tap_cols, false) > most_lines && !tile_.spread) {
      tile_.tap_cols = tile_.read_vector = tile_.written_vector = tile_.cols = 1;
      tile_.read_shift = 0;
    }
    const int64_t taps = tile_.tap_rows * tile_.tap_cols, sums = most_kept / registers(p_, tile_) - taps;
    const int64_t most_rows = std::clamp<int64_t>(sums / tile_.cols, 1, planar_ || taps <= 25 ? 8 : 4);
    tile_.rows = tile_size(p_.h, p_.h.out, most_rows, false);
    while (tile_.rows > 1 && lines_of(p_.h, tile_.rows, tile_.tap_rows, false) > most_lines)
      tile_.rows = ceil_div(tile_.rows, 2);
  }

  int64_t kept() const { return registers(p_, tile_) * (tile_.rows * tile_.cols + tile_.tap_rows * tile_.tap_cols); }

  // Planar: columns of a row that neighbouring threads have. By channels: units.
  int64_t lanes(int64_t units, int64_t col_tiles) const {
    const int64_t lanes = !planar_       ? lanes_of_channels(std::max<int64_t>(units, 1))
                          : tile_.spread ? tile_.spread
                                         : share(std::max<int64_t>(col_tiles, 1), shared_lanes);
    return std::max<int64_t>(lanes, 1);
  }

  void share_out(int multiprocessors) {
    const int64_t col_tiles = tile_.spread ? ceil_div(p_.w.out, tile_.cols * tile_.spread) * tile_.spread
                                           : tiles_of(p_.w, p_.w.out, tile_.cols, false);
    const int64_t units = outs_ / tile_.channels(), lanes = this->lanes(units, col_tiles);
    members_ = planar_ ? lanes : block / lanes;
    groups_ = planar_ ? block / lanes : lanes;
    lines_ = planar_ ? ceil_div(col_tiles, lanes) : col_tiles;
    row_tiles_ = tiles_of(p_.h, p_.h.out, tile_.rows, false);
    items_ = p_.batch * p_.d.out * row_tiles_ * lines_;
    chunks_ = p_.d.kernel * std::max<int64_t>(ceil_div(p_.h.kernel, tile_.tap_rows), 1) *
              std::max<int64_t>(ceil_div(p_.w.kernel, tile_.tap_cols), 1);
    out_blocks_ = planar_ ? outs_ : ceil_div(units, groups_);
    const int64_t blocks_of_part = std::max<int64_t>(ceil_div(out_blocks_ * chunks_, planar_ ? groups_ : 1), 1);
    const int64_t most = std::clamp<int64_t>(planar_ ? items_ : items_ / members_, 1, most_parts);
    // As many blocks as fit the GPU at a time: a few more would take twice as long. Shares are then equal.
    const int64_t fitting = std::clamp<int64_t>(multiprocessors * blocks_for(kept()) / blocks_of_part, 1, most);
    const int64_t sharers = planar_ ? 1 : members_,
                  items_of_a_share = std::max<int64_t>(ceil_div(items_, fitting * sharers), 1);
    parts_ = std::max<int64_t>(ceil_div(ceil_div(items_, items_of_a_share), sharers), 1);
    blocks_ = out_blocks_ * parts_ * chunks_;
  }

  std::string options() const {
    Options o;
    o.add("SUM", sum_of(p_)).add("READ", code(p_.x.dtype)).add("WEIGHT", code(p_.y.dtype));
    o.add("WRITTEN", code(p_.W.dtype)).add("BIAS", code(has_bias_ ? p_.b.dtype : DType::f32));
    o.add("HAS_BIAS", has_bias_).add("PLANAR", planar_);
    o.add("KERNEL_ROWS", p_.h.kernel).add("KERNEL_COLS", p_.w.kernel);
    o.add("STRIDE_ROWS", p_.h.stride).add("STRIDE_COLS", p_.w.stride);
    o.add("DILATE_ROWS", p_.h.dilate).add("DILATE_COLS", p_.w.dilate);
    o.add("READ_COL", p_.x.strides[width_axis]).add("WRITTEN_COL", p_.y.strides[width_axis]);
    o.add("BORDER", static_cast<int>(p_.border)).add("ROWS", tile_.rows).add("COLS", tile_.cols);
    o.add("SPREAD", tile_.spread).add("TAP_ROWS", tile_.tap_rows).add("TAP_COLS", tile_.tap_cols);
    o.add("PAIR", tile_.pair).add("READ_VECTOR", tile_.read_vector).add("READ_SHIFT", tile_.read_shift);
    o.add("WRITTEN_VECTOR", tile_.written_vector);
    return o.add("BLOCKS", blocks_for(kept())).add("THREADS", block).text();
  }

  WeightGradParameters parameters() const {
    WeightGradParameters out{};
    out.x_strides = strides_of(p_.x);
    out.gy_strides = strides_of(p_.y);
    out.gW_strides = strides_of(p_.W);
    const Axis* const axes[3] = {&p_.d, &p_.h, &p_.w};
    for (int i = 0; i < 3; ++i) {
      out.x_size[i] = static_cast<int>(axes[i]->size);
      out.gy_size[i] = static_cast<int>(axes[i]->out);
    }
    out.depth = {static_cast<int>(p_.d.kernel), static_cast<int>(p_.d.stride), static_cast<int>(p_.d.dilate),
                 static_cast<int>(p_.d.pad)};
    out.rows = {static_cast<int>(p_.h.pad), static_cast<int>(-p_.h.pad)};
    out.cols = {static_cast<int>(p_.w.pad), static_cast<int>(-p_.w.pad)};
    out.outs = static_cast<int>(outs_);
    out.multiplier = divisor(p_.multiplier);
    out.outs_divisor = divisor(outs_);
    out.groups = static_cast<int>(groups_);
    out.members = static_cast<int>(members_);
    out.out_blocks = divisor(out_blocks_);
    out.blocks = static_cast<unsigned>(blocks_);
    out.parts = static_cast<int>(parts_);
    out.chunks = static_cast<int>(chunks_);
    out.parts_divisor = divisor(parts_);
    out.items = static_cast<int>(items_);
    out.col_tiles = divisor(lines_);
    out.row_tiles = divisor(row_tiles_);
    out.depths = divisor(p_.d.out);
    return out;
  }

  const Problem& p_;
  const bool planar_, sequence_, has_bias_;
  const int64_t outs_;
  Tile tile_;
  // See WeightGradParameters.
  int64_t groups_, members_, lines_, row_tiles_, items_, chunks_, out_blocks_, parts_, blocks_;
};

}  // namespace

GpuPlan weight_grad_plan(const Problem& p, int multiprocessors) { return WeightGrad(p, multiprocessors).plan(); }

}  // namespace depthwise::cuda
