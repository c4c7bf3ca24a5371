// Whole planes of another dtype, brought into the accumulator's type without a gap, and back.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

// Elements that whole vectors may read before and behind planes in scratch memory.
constexpr int64_t spare_elements = 64;

DEPTHWISE_INLINE int64_t plane_size(const depthwise::Side& side) { return side.lines * side.cross_size; }
// Elements of the planes of a channel of an image.
DEPTHWISE_INLINE int64_t volume(const depthwise::Side& side) { return side.depths * plane_size(side); }

// Volumes like those of `side` as they lie in scratch memory.
template <class E>
inline depthwise::Side dense_volumes(const depthwise::Side& side, E* scratch) {
  return {.data = scratch,
          .dtype = dtype_of<E>,
          .batch = 0,
          .channel = volume(side),
          .line = side.cross_size,
          .cross = 1,
          .lines = side.lines,
          .cross_size = side.cross_size,
          .depth = plane_size(side),
          .depths = side.depths,
          .direct = true};
}

// Calls f(scratch, memory, count) for each run of elements that has no gap in memory.
template <class E, class F>
inline void each_span(const depthwise::Side& side, E* scratch, Step at, int64_t channels, const F& f) {
  const bool whole_planes = side.line == side.cross_size;
  const bool whole_volumes = whole_planes && (side.depths == 1 || side.depth == plane_size(side));
  if (whole_volumes && side.channel == volume(side)) return f(scratch, at, channels * volume(side));
  const int64_t planes = whole_volumes ? 1 : side.depths, lines = whole_planes ? 1 : side.lines;
  const int64_t count = whole_volumes ? volume(side) : whole_planes ? plane_size(side) : side.cross_size;
  for (int64_t i = 0; i < channels; ++i)
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t line = 0; line < lines; ++line, scratch += count)
        f(scratch, at + i * side.channel + plane * side.depth + line * side.line, count);
}

// Volumes of neighbouring channels, the first of which starts at element `at`.
template <class S>
inline void widen_volumes(const depthwise::Side& side, typename S::E* scratch, Step at, int64_t channels) {
  with_type(side.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    each_span(side, scratch, at, channels, [&](typename S::E* to, Step from, int64_t count) {
      widen_span<S, T>(to, static_cast<const T*>(side.data) + from, 1, count);
    });
  });
}

template <class S>
inline void narrow_volumes(const depthwise::Side& side, typename S::E* scratch, Step at, int64_t channels) {
  with_type(side.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    each_span(side, scratch, at, channels, [&](const typename S::E* from, Step to, int64_t count) {
      narrow_span<S, T>(static_cast<T*>(side.data) + to, 1, from, count);
    });
  });
}

}  // namespace
