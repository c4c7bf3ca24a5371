// The lattice and the layout of packed rows without a kernel: over many random axes, steps of any size among them,
// every output meets each of its taps exactly once, and reads the input that the definition says.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "../heights.hpp"
#include "../lattice.hpp"
#include "../row_layout.hpp"

using namespace depthwise;

namespace {

std::mt19937 random_bits(1);

int64_t draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

int64_t draw_step() {
  return draw(0, 3) ? draw(1, 4)
                    : static_cast<int64_t>(std::pow(10, std::uniform_real_distribution<>(0, 8)(random_bits)));
}

void check(bool holds, const char* what, const Axis& a, Pass pass) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s (size %ld, kernel %ld, stride %ld, pad %ld, dilate %ld, out %ld, pass %d)\n", what,
               static_cast<long>(a.size), static_cast<long>(a.kernel), static_cast<long>(a.stride),
               static_cast<long>(a.pad), static_cast<long>(a.dilate), static_cast<long>(a.out), static_cast<int>(pass));
  std::exit(1);
}

Axis draw_axis() {
  for (;;) {
    Axis a{draw(1, 60), draw(1, 12), draw_step(), 0, draw_step(), draw(1, 40)};
    const int64_t reach = a.dilate * (a.kernel - 1) + 1, padding = (a.out - 1) * a.stride + reach - a.size;
    if (padding < 0) continue;
    a.pad = draw(0, padding);
    return a;
  }
}

// Output, tap, input: what the definition says, outputs being x's in an input gradient.
using Products = std::set<std::tuple<int64_t, int64_t, int64_t>>;

Products defined(const Axis& a, Pass pass) {
  Products all;
  for (int64_t i = 0; i < a.out; ++i)
    for (int64_t q = 0; q < a.kernel; ++q) {
      const int64_t x = i * a.stride + q * a.dilate - a.pad;
      if (x < 0 || x >= a.size) continue;
      all.insert(pass == Pass::input_grad ? std::tuple{x, q, i} : std::tuple{i, q, x});
    }
  return all;
}

// Whether the outputs that are in no phase are those that no tap can meet, and the others are in one.
void check_outputs(const std::map<int64_t, int>& seen, bool covers, const Products& products, int64_t outs,
                   const Axis& a, Pass pass) {
  for (const auto& [out, times] : seen)
    check(times == 1 && out >= 0 && out < outs, "an output is in one phase", a, pass);
  for (const auto& [out, tap, in] : products)
    check(seen.count(out), "an output that a tap meets is in a phase", a, pass);
  if (covers) check(static_cast<int64_t>(seen.size()) == outs, "all outputs are covered", a, pass);
}

// How many tiles there are: each of a height that is compiled, one behind the other.
int64_t test_heights(int64_t lines, int64_t most) {
  const Heights heights(lines, most);
  int64_t at = 0;
  bool right = heights.count() <= ceil_div(lines, most) + (most == 8 && lines == 3);
  for (int64_t k = 0; k < heights.count(); ++k) {
    right &= heights.begin(k) == at && is_tile_height(heights.height(k), most) &&
             (k == 0 || heights.height(k) <= heights.height(k - 1));
    at += heights.height(k);
  }
  if (!right || at != lines) {
    std::fprintf(stderr, "FAILED: heights of %ld lines\n", static_cast<long>(lines));
    std::exit(1);
  }
  return heights.count();
}

void test_lines(const LatticeView& lat, const Axis& a, Pass pass, int64_t max_lines) {
  const int64_t outs = pass == Pass::input_grad ? a.size : a.out, ins = pass == Pass::input_grad ? a.out : a.size;
  Products found;
  std::map<int64_t, int> seen;
  int64_t tiles = 0;
  for (int64_t c = 0; c < lat.line_phase_count; ++c) {
    const LinePhase& lines = lat.line_phases[c];
    check(lines.tiles_before == tiles, "tiles are numbered without a gap", a, pass);
    tiles += test_heights(lines.outs, max_lines);
    for (int64_t t = 0; t < lines.outs; ++t) ++seen[lines.out0 + t * lines.out_step];
    for (int64_t i = lines.sets_begin; i < lines.sets_end; ++i) {
      const TapSet& p = lat.tap_sets[i];
      check(p.taps <= lat.max_set_taps && lines.sets_end - lines.sets_begin <= lat.max_sets, "bounds", a, pass);
      for (int64_t t = 0; t < lines.outs; ++t)
        for (int64_t tap = 0; tap < p.taps; ++tap) {
          const int64_t s = t * lat.lines_per_out + tap, in = p.in0 + s * lat.line_in_step;
          const bool inside = in >= 0 && in < ins;
          check(inside == (s >= p.first && s < p.last), "first and last bound the lines inside", a, pass);
          if (!inside) continue;
          const bool fresh = found.insert({lines.out0 + t * lines.out_step, p.tap0 + tap * p.tap_step, in}).second;
          check(fresh, "a product is found once", a, pass);
        }
    }
  }
  check(tiles == lat.line_tiles, "all tiles are counted", a, pass);
  check(lat.line_phase_count <= 64 * a.kernel, "phases do not grow with the steps", a, pass);
  check(found == defined(a, pass), "lines: all products are found", a, pass);
  check_outputs(seen, lat.covers, found, outs, a, pass);
}

// Phases of the axis across the lines, or of the depth.
struct Phases {
  const CrossPhase* phases;
  int64_t count, in_step;
  const CrossTap* taps;
};

void test_phases(const Phases& p, bool covers, const Axis& a, Pass pass) {
  const int64_t outs = pass == Pass::input_grad ? a.size : a.out, ins = pass == Pass::input_grad ? a.out : a.size;
  Products found;
  std::map<int64_t, int> seen;
  int64_t taps = 0;
  for (int64_t i = 0; i < p.count; ++i) {
    const CrossPhase& c = p.phases[i];
    for (int64_t u = 0; u < c.outs; ++u) ++seen[c.out0 + u * c.out_step];
    check(c.taps_begin == taps, "taps are numbered without a gap", a, pass);
    taps = c.taps_end;
    for (int64_t k = c.taps_begin; k < c.taps_end; ++k) {
      check(k == c.taps_begin || p.taps[k - 1].in0 < p.taps[k].in0, "taps ascend", a, pass);
      for (int64_t u = 0; u < c.outs; ++u) {
        const int64_t in = p.taps[k].in0 + u * p.in_step;
        if (in < 0 || in >= ins) continue;
        const bool fresh = found.insert({c.out0 + u * c.out_step, p.taps[k].tap, in}).second;
        check(fresh, "a product is found once", a, pass);
      }
    }
  }
  check(p.count <= 64 * a.kernel, "phases do not grow with the steps", a, pass);
  check(found == defined(a, pass), "phases: all products are found", a, pass);
  check_outputs(seen, covers, found, outs, a, pass);
}

void test_crosses(const LatticeView& lat, const Axis& a, Pass pass) {
  test_phases({lat.cross_phases, lat.cross_phase_count, lat.cross_in_step, lat.cross_taps}, lat.covers, a, pass);
}

void test_depths(const LatticeView& lat, const Axis& a, Pass pass) {
  test_phases({lat.depth_phases, lat.depth_phase_count, lat.depth_in_step, lat.depth_taps}, lat.covers, a, pass);
  int64_t outs = 0, most = 0;
  for (int64_t i = 0; i < lat.depth_phase_count; ++i) {
    outs += lat.depth_phases[i].outs;
    most = std::max(most, lat.depth_phases[i].taps_end - lat.depth_phases[i].taps_begin);
  }
  check(outs == lat.depth_outs && most == lat.max_depth_taps, "planes are counted", a, pass);
}

// Each tap finds its columns next to one another in a packed row, each column that the layout says.
void test_layout(const LatticeView& lat, const Axis& a, Pass pass) {
  constexpr int64_t lanes = 8;
  const int64_t strip = lanes * draw(1, 6);
  const bool in_place = lat.cross_in_step <= 2 && draw(0, 1);
  const RowLayout layout(lat, strip, lanes, in_place);
  const RowLayoutView v = layout.view();
  std::vector<int64_t> column(static_cast<size_t>(v.elements), INT64_MIN);  // of the first strip
  for (int64_t i = 0; i < v.count; ++i) {
    const Segment& s = v.segments[i];
    check(s.at >= 0 && s.length <= v.longest && s.at + s.length <= v.elements, "segments are in the row", a, pass);
    for (int64_t k = 1; k < s.neighbours; ++k) {
      const Segment& n = v.segments[i + k];
      check(n.shift * v.step + n.residue == s.shift * v.step + s.residue + k, "neighbours are neighbours", a, pass);
    }
    for (int64_t k = 0; k < s.length - lanes; ++k) {
      int64_t& to = column[static_cast<size_t>(s.at + k)];
      check(to == INT64_MIN, "segments do not overlap", a, pass);
      to = (s.shift + k) * v.step + s.residue;
    }
  }
  const int64_t apart = lat.cross_in_step / v.step;
  for (int64_t k = 0; k < lat.cross_tap_count; ++k)
    for (int64_t j = 0; j < strip; ++j)
      check(column[static_cast<size_t>(v.place[k] + j * apart)] == lat.cross_taps[k].in0 + j * lat.cross_in_step,
            "a tap finds its columns", a, pass);
  const int64_t most = lat.cross_tap_count * (apart * strip + 2 * lanes) * (v.step == 2 ? 2 : 1);
  check(v.elements < most + 32, "a row takes a strip for each tap at most", a, pass);
  check(!v.count || v.elements % 32 == 16, "rows lie an odd number of lines of a cache apart", a, pass);
}

}  // namespace

int main(int argc, char** argv) {
  const int problems = argc > 1 ? std::atoi(argv[1]) : 20000;
  for (int i = 0; i < problems; ++i) {
    const Axis tile_axis = draw_axis(), cross_axis = draw_axis(), depth = draw_axis();
    const auto pass = static_cast<Pass>(draw(0, 2));
    const int64_t max_lines = draw(1, 8);
    const bool split = draw(0, 1);
    const bool pairs = pass != Pass::input_grad && tile_axis.stride == 2 && tile_axis.dilate == 1 && draw(0, 1);
    const Lattice lattice(pass, tile_axis, cross_axis, depth, max_lines, split, pairs);
    const LatticeView view = lattice.view();
    test_lines(view, tile_axis, pass, max_lines);
    test_crosses(view, cross_axis, pass);
    test_depths(view, depth, pass);
    if (!split) test_layout(view, cross_axis, pass);
  }
  std::printf("%d passed, 0 failed\n", problems);
  return 0;
}
