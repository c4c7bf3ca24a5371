// Derives the phases and tap sets of lattice.hpp from stride, dilation and padding.
#include "lattice.hpp"

#include <algorithm>
#include <numeric>

#include "heights.hpp"

namespace depthwise {
namespace {

constexpr int64_t most_phases = 64;  // that a dilation makes

int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }

// An output, the first of its phase, and the first of the taps that meet it, of which the others are `tap_step` apart.
struct Meeting {
  int64_t out, tap;
};

// How the outputs of an input gradient, which are x's, meet the taps: those of one residue modulo the stride meet the
// same taps, and are `repeats` phases. Residues that no tap meets are left out.
std::vector<Meeting> meetings(const Axis& a, int64_t tap_step, int64_t repeats) {
  std::vector<Meeting> found;
  found.reserve(static_cast<size_t>(std::min(tap_step, a.kernel) * repeats));
  for (int64_t tap = 0; tap < std::min(tap_step, a.kernel); ++tap) {
    int64_t out = floor_mod(tap * a.dilate - a.pad, a.stride);
    for (int64_t i = 0; i < repeats && out < a.size; ++i, out += a.stride) found.push_back({out, tap});
  }
  std::sort(found.begin(), found.end(), [](const Meeting& one, const Meeting& other) { return one.out < other.out; });
  return found;
}

}  // namespace

int64_t dilation_phases(const Axis& a) {
  const int64_t phases = a.dilate / std::gcd(a.stride, a.dilate);
  return phases <= most_phases ? phases : 1;
}

int64_t phases_met(const Axis& a) {
  const int64_t tap_step = a.stride / std::gcd(a.stride, a.dilate);
  int64_t phases = 0;
  for (int64_t tap = 0; tap < std::min(tap_step, a.kernel); ++tap)
    phases += floor_mod(tap * a.dilate - a.pad, a.stride) < a.size;
  return phases;
}

int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

void Lattice::add_line_phase(int64_t out0, int64_t out_step, int64_t out_end, int64_t max_lines) {
  const int64_t outs = ceil_div(out_end - out0, out_step);
  const auto sets = static_cast<int64_t>(tap_sets_.size());
  lines_.push_back({out0, out_step, outs, line_tiles_, sets, sets});
  line_tiles_ += Heights(outs, max_lines).count();
}

void Lattice::add_tap_set(int64_t in0, int64_t in_step, int64_t in_size, int64_t taps, int64_t tap0, int64_t tap_step) {
  tap_sets_.push_back({in0, ceil_div(-in0, in_step), ceil_div(in_size - in0, in_step), taps, tap0, tap_step});
  lines_.back().sets_end += 1;
}

Lattice::Lattice(Pass pass, const Axis& tile_axis, const Axis& cross_axis, const Axis& depth, int64_t max_lines,
                 bool split_cross, bool keep_stride) {
  const bool gather = pass != Pass::input_grad;  // outputs are y's, inputs x's; else the other way round
  add_lines(gather, tile_axis, max_lines, keep_stride);
  cross_in_step_ = add_phases(gather, cross_axis, split_cross, crosses_, taps_);
  depth_in_step_ = add_phases(gather, depth, false, depths_, depth_taps_);
  const auto outs_of = [](const auto& phases) {
    return std::accumulate(phases.begin(), phases.end(), int64_t{0},
                           [](int64_t n, const auto& c) { return n + c.outs; });
  };
  const auto is_covered = [&](const auto& phases, const Axis& a) {
    return outs_of(phases) == (gather ? a.out : a.size);
  };
  covers_ = is_covered(lines_, tile_axis) && is_covered(crosses_, cross_axis) && is_covered(depths_, depth);
}

void Lattice::add_lines(bool gather, const Axis& a, int64_t max_lines, bool keep_stride) {
  const int64_t common = std::gcd(a.stride, a.dilate);
  const int64_t tap_step = a.stride / common;  // taps this far apart meet the same residue of inputs
  if (gather && keep_stride) {
    lines_per_out_ = a.stride;
    add_line_phase(0, 1, a.out, max_lines);
    add_tap_set(-a.pad, 1, a.size, a.kernel, 0, 1);
    return;
  }
  // Taps of one residue are a tap set, if they are neighbours in a phase; else each is one.
  const int64_t spread = dilation_phases(a);
  const bool neighbours = spread * common == a.dilate;
  const int64_t apart = neighbours ? tap_step : a.kernel;
  if (gather) {
    line_in_step_ = spread * a.stride;
    tap_sets_.reserve(static_cast<size_t>(std::min(spread, a.out) * std::min(apart, a.kernel)));
    for (int64_t phase = 0; phase < std::min(spread, a.out); ++phase) {
      add_line_phase(phase, spread, a.out, max_lines);
      for (int64_t tap = 0; tap < std::min(apart, a.kernel); ++tap)
        add_tap_set(phase * a.stride + tap * a.dilate - a.pad, line_in_step_, a.size, ceil_div(a.kernel - tap, apart),
                    tap, apart);
    }
    return;
  }
  line_in_step_ = spread;
  for (const auto& [out, tap] : meetings(a, tap_step, spread)) {
    add_line_phase(out, a.stride * spread, a.size, max_lines);
    const int64_t taps = ceil_div(a.kernel - tap, tap_step), together = neighbours ? taps : 1;
    for (int64_t k = taps; k > 0; k -= together) {
      const int64_t last = tap + (k - 1) * tap_step;
      add_tap_set((out + a.pad - last * a.dilate) / a.stride, spread, a.out, together, last, -tap_step);
    }
  }
}

int64_t Lattice::add_phases(bool gather, const Axis& a, bool split, std::vector<CrossPhase>& phases,
                            std::vector<CrossTap>& taps) {
  const int64_t spread = split ? dilation_phases(a) : 1;
  const auto add_phase = [&](int64_t out0, int64_t out_step, int64_t out_end, int64_t taps_begin) {
    phases.push_back(
        {out0, out_step, ceil_div(out_end - out0, out_step), taps_begin, static_cast<int64_t>(taps.size())});
  };
  if (gather) {
    taps.reserve(static_cast<size_t>(std::min(spread, a.out) * a.kernel));
    for (int64_t phase = 0; phase < std::min(spread, a.out); ++phase) {
      const auto begin = static_cast<int64_t>(taps.size());
      for (int64_t k = 0; k < a.kernel; ++k) taps.push_back({phase * a.stride + k * a.dilate - a.pad, k});
      add_phase(phase, spread, a.out, begin);
    }
    return a.stride * spread;
  }
  taps.reserve(static_cast<size_t>(spread * a.kernel));
  const int64_t tap_step = a.stride / std::gcd(a.stride, a.dilate);
  for (const auto& [out, tap] : meetings(a, tap_step, spread)) {
    const auto begin = static_cast<int64_t>(taps.size());
    for (int64_t k = tap + (a.kernel - 1 - tap) / tap_step * tap_step; k >= 0; k -= tap_step)
      taps.push_back({(out + a.pad - k * a.dilate) / a.stride, k});  // in0 ascends in either pass
    add_phase(out, a.stride * spread, a.size, begin);
  }
  return spread;
}

LatticeView Lattice::view() const {
  LatticeView v{lines_.data(),
                static_cast<int64_t>(lines_.size()),
                line_in_step_,
                line_tiles_,
                lines_per_out_,
                tap_sets_.data(),
                0,
                0,
                crosses_.data(),
                static_cast<int64_t>(crosses_.size()),
                cross_in_step_,
                taps_.data(),
                static_cast<int64_t>(taps_.size()),
                depths_.data(),
                static_cast<int64_t>(depths_.size()),
                depth_in_step_,
                depth_taps_.data(),
                0,
                0,
                covers_};
  for (const TapSet& p : tap_sets_) v.max_set_taps = std::max(v.max_set_taps, p.taps);
  for (const LinePhase& c : lines_) v.max_sets = std::max(v.max_sets, c.sets_end - c.sets_begin);
  for (const CrossPhase& c : depths_) {
    v.depth_outs += c.outs;
    v.max_depth_taps = std::max(v.max_depth_taps, c.taps_end - c.taps_begin);
  }
  return v;
}

}  // namespace depthwise
