// Whole planes of another dtype, brought into the accumulator's type without a gap, and back.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

// Elements that whole vectors may read before and behind planes in scratch memory.
constexpr int64_t spare_elements = 64;

DEPTHWISE_INLINE int64_t plane_size(const depthwise::Side& side) { return side.lines * side.cross_size; }

// Planes like those of `side` as they lie in scratch memory.
template <class E>
inline depthwise::Side dense_planes(const depthwise::Side& side, E* scratch) {
  return {.data = scratch,
          .dtype = dtype_of<E>,
          .batch = 0,
          .channel = plane_size(side),
          .line = side.cross_size,
          .cross = 1,
          .lines = side.lines,
          .cross_size = side.cross_size,
          .direct = true};
}

// Calls f(scratch, memory, count) for each run of elements that has no gap in memory.
template <class E, class F>
inline void each_span(const depthwise::Side& side, E* scratch, Step at, int64_t planes, const F& f) {
  const bool whole_planes = side.line == side.cross_size, all = whole_planes && side.channel == plane_size(side);
  if (all) return f(scratch, at, planes * plane_size(side));
  for (int64_t i = 0; i < planes; ++i, at += side.channel)
    for (int64_t line = 0; line < (whole_planes ? 1 : side.lines); ++line) {
      const int64_t count = whole_planes ? plane_size(side) : side.cross_size;
      f(scratch, at + line * side.line, count);
      scratch += count;
    }
}

// Planes of neighbouring channels, the first of which starts at element `at`.
template <class S>
inline void widen_planes(const depthwise::Side& side, typename S::E* scratch, Step at, int64_t planes) {
  with_type(side.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    each_span(side, scratch, at, planes, [&](typename S::E* to, Step from, int64_t count) {
      widen_span<S, T>(to, static_cast<const T*>(side.data) + from, 1, count);
    });
  });
}

template <class S>
inline void narrow_planes(const depthwise::Side& side, typename S::E* scratch, Step at, int64_t planes) {
  with_type(side.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    each_span(side, scratch, at, planes, [&](const typename S::E* from, Step to, int64_t count) {
      narrow_span<S, T>(static_cast<T*>(side.data) + to, 1, from, count);
    });
  });
}

}  // namespace
