// A strip of outputs of one line as vectors: those inside, whose taps all read inside the row, and the edges, of which
// each lane has a bit for each tap. The same for all rows.
#pragma once
#include "pack.hpp"
#include "walk.hpp"

namespace {

struct RowEdge {
  int64_t at, lanes;  // its first output, from the strip's first on, and how many lanes there are
};

template <class S>
struct RowEdges {
  using M = typename S::M;
  RowEdge* edges;
  M* masks;  // [edge][plane][tap]
  int64_t count;
  Range inner;  // whole vectors of outputs, from the strip's first on

  Range* inside;  // for each tap, the outputs that read inside the row

  // Of so many outputs at most; `spread` of them lie between what the first tap reads and what the last does.
  void take(Arena& arena, int64_t outs, int64_t taps, int64_t planes, int64_t spread) {
    const int64_t most = at_most(divide_up(outs, S::N), 2 * (divide_up(spread, S::N) + 2)) + 1;
    edges = arena.take<RowEdge>(most);
    masks = arena.take<M>(most * taps * planes);
    inside = arena.take<Range>(taps);
  }
};

// Which vectors are listed.
enum class Listed {
  met,  // those of which some lane reads inside the row, each output once
  all   // all, and where there are more than a vector the last may lap over others: whole vectors are stored
};

// For outputs `outs`, a stride apart, and taps that read in ascending order from rows of `size` columns, of so many
// planes that are summed.
template <class S>
void list_edges(RowEdges<S>& to, Listed listed, Range outs, const depthwise::CrossTap* taps, int64_t tap_count,
                int64_t stride, int64_t size, int64_t planes) {
  using M = typename S::M;
  const int64_t n = outs.size();
  for (int64_t k = 0; k < tap_count; ++k) {
    const int64_t column = taps[k].in0 + outs.begin * stride;
    const Range columns{at_least(-column, 0) + stride - 1, size - 1 - column + stride};
    to.inside[k] = stride == 1 ? columns : Range{columns.begin / stride, floor_div(columns.end, stride)};
    to.inside[k] = {clamp(to.inside[k].begin, 0, n), clamp(to.inside[k].end, 0, n)};
  }
  const Range first = to.inside[0], last = to.inside[tap_count - 1];
  to.inner.begin = at_most(n, divide_up(first.begin, S::N) * S::N);
  to.inner.end = to.inner.begin + at_least(last.end - to.inner.begin, 0) / S::N * S::N;
  to.count = 0;
  const Range met = listed == Listed::all ? Range{0, n} : Range{last.begin, first.end};
  const auto add = [&](int64_t at) {
    if (listed == Listed::all && n >= S::N) at = at_most(at, n - S::N);
    const int64_t lanes = at_most(S::N, n - at);
    if (at >= met.end || at + lanes <= met.begin) return;
    M* mask = to.masks + to.count * planes * tap_count;
    for (int64_t m = 0; m < planes; ++m)
      for (int64_t k = 0; k < tap_count; ++k)
        *mask++ = S::mask(to.inside[k].begin - at, at_most(lanes, to.inside[k].end - at));
    to.edges[to.count++] = {at, lanes};
  };
  for (int64_t at = met.begin / S::N * S::N; at < at_most(to.inner.begin, met.end); at += S::N) add(at);
  for (int64_t at = to.inner.end; at < met.end; at += S::N) add(at);
}

}  // namespace
