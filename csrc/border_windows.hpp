// Which places of an image, and beside it, the windows of its outputs cover.
#pragma once
#include <algorithm>

#include "border_copy.hpp"
#include "lattice.hpp"

namespace depthwise {

inline constexpr Axis Problem::* spatial[3] = {&Problem::d, &Problem::h, &Problem::w};

inline int64_t floor_div(int64_t a, int64_t b) { return -ceil_div(-a, b); }

// Places that a window spans.
inline int64_t reach(const Axis& a) { return (a.kernel - 1) * a.dilate + 1; }

inline Span outputs(const Axis& a) { return {0, a.out}; }

// Outputs whose windows lie inside the image.
inline Span outputs_inside(const Axis& a) {
  const int64_t first = std::min(ceil_div(a.pad, a.stride), a.out);
  return {first, std::clamp(floor_div(a.size - reach(a) + a.pad, a.stride) + 1, first, a.out)};
}

// Places that the windows of some outputs cover, from the image's first element on.
inline Span places(const Axis& a, Span outs) {
  return {outs.begin * a.stride - a.pad, (outs.end - 1) * a.stride - a.pad + reach(a)};
}

template <class F>
Box each_axis(const Problem& p, const F& f) {
  return {f(p.d), f(p.h), f(p.w)};
}

inline int64_t elements(const Box& box) { return box[0].size() * box[1].size() * box[2].size(); }

inline Images images_of(const Problem& p) { return {p.x, p.batch, p.channels, {p.d.size, p.h.size, p.w.size}}; }

// The problem of a box of the outputs, whose windows lie inside what x then is.
inline Problem of_outputs(const Problem& p, const Box& outs, const Array& x) {
  Problem part = p;
  part.border = Border::constant;
  part.x = x;
  for (size_t i = 0; i < 3; ++i) {
    Axis& a = part.*spatial[i];
    a.size = places(a, outs[i]).size();
    a.pad = 0;
    a.out = outs[i].size();
    advance(part.y, outs[i].begin * p.y.strides[static_cast<size_t>(depth_axis) + i]);
  }
  return part;
}

inline Box places(const Problem& p, const Box& outs) {
  return {places(p.d, outs[0]), places(p.h, outs[1]), places(p.w, outs[2])};
}

}  // namespace depthwise
