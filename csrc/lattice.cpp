// Derives the classes and parts of lattice.hpp from stride, dilation and padding.
#include "lattice.hpp"

#include <algorithm>
#include <numeric>

namespace depthwise {

int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

int64_t tiles_of(int64_t outs, int64_t max_lines) { return ceil_div(outs, max_lines); }

void Lattice::add_line_class(int64_t out0, int64_t out_step, int64_t out_end, int64_t max_lines) {
  const int64_t outs = ceil_div(out_end - out0, out_step);
  const auto parts = static_cast<int64_t>(parts_.size());
  lines_.push_back({out0, out_step, outs, line_tiles_, parts, parts});
  line_tiles_ += tiles_of(outs, max_lines);
}

void Lattice::add_part(int64_t in0, int64_t in_step, int64_t in_size, int64_t taps, int64_t tap0, int64_t tap_step) {
  parts_.push_back({in0, ceil_div(-in0, in_step), ceil_div(in_size - in0, in_step), taps, tap0, tap_step});
  lines_.back().parts_end += 1;
}

Lattice::Lattice(Pass pass, const Axis& line, const Axis& offset, int64_t max_lines, bool split_offsets,
                 bool keep_stride) {
  const bool gather = pass != Pass::input_grad;  // outputs are y's, inputs x's; else the other way round
  const int64_t g = std::gcd(line.stride, line.dilate);
  const int64_t tap_step = line.stride / g;  // taps this far apart meet the same residue of inputs
  if (gather && keep_stride) {
    lines_per_out_ = line.stride;
    add_line_class(0, 1, line.out, max_lines);
    add_part(-line.pad, 1, line.size, line.kernel, 0, 1);
  } else if (gather) {
    const int64_t out_step = line.dilate / g;
    line_in_step_ = out_step * line.stride;
    for (int64_t c = 0; c < std::min(out_step, line.out); ++c) {
      add_line_class(c, out_step, line.out, max_lines);
      for (int64_t e = 0; e < std::min(tap_step, line.kernel); ++e)
        add_part(c * line.stride + e * line.dilate - line.pad, line_in_step_, line.size,
                 ceil_div(line.kernel - e, tap_step), e, tap_step);
    }
  } else {
    const int64_t out_step = line.stride / g * line.dilate;
    line_in_step_ = line.dilate / g;
    for (int64_t c = 0; c < std::min(out_step, line.size); ++c) {
      add_line_class(c, out_step, line.size, max_lines);
      for (int64_t e = 0; e < std::min(tap_step, line.kernel); ++e) {
        if ((c + line.pad - e * line.dilate) % line.stride) continue;
        const int64_t taps = ceil_div(line.kernel - e, tap_step), last = e + (taps - 1) * tap_step;
        add_part((c + line.pad - last * line.dilate) / line.stride, line_in_step_, line.out, taps, last, -tap_step);
      }
    }
  }
  const int64_t apart = split_offsets ? std::gcd(offset.stride, offset.dilate) : offset.dilate;
  const int64_t spread = offset.dilate / apart;  // 1 where dilation is left to the taps
  offset_in_step_ = gather ? offset.stride * spread : spread;
  const int64_t out_step = gather ? spread : offset.stride * spread;
  const int64_t outs = gather ? offset.out : offset.size;
  for (int64_t c = 0; c < std::min(out_step, outs); ++c) {
    const auto begin = static_cast<int64_t>(taps_.size());
    for (int64_t q = 0; q < offset.kernel; ++q) {
      const int64_t at =
          gather ? c * offset.stride + q * offset.dilate - offset.pad : c + offset.pad - q * offset.dilate;
      if (gather)
        taps_.push_back({at, q});
      else if (at % offset.stride == 0)
        taps_.push_back({at / offset.stride, q});
    }
    if (!gather) std::reverse(taps_.begin() + begin, taps_.end());  // in0 ascends in either pass
    offsets_.push_back({c, out_step, ceil_div(outs - c, out_step), begin, static_cast<int64_t>(taps_.size())});
  }
}

LatticeView Lattice::view() const {
  LatticeView v{lines_.data(),
                static_cast<int64_t>(lines_.size()),
                line_in_step_,
                line_tiles_,
                lines_per_out_,
                parts_.data(),
                0,
                0,
                offsets_.data(),
                static_cast<int64_t>(offsets_.size()),
                offset_in_step_,
                taps_.data()};
  for (const Part& p : parts_) v.max_part_taps = std::max(v.max_part_taps, p.taps);
  for (const LineClass& c : lines_) v.max_parts = std::max(v.max_parts, c.parts_end - c.parts_begin);
  return v;
}

}  // namespace depthwise
