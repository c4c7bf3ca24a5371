// Problems that are parts of another.
#pragma once
#include "problem.hpp"

namespace depthwise {

// Elements, outputs or planes [begin, end) of an axis.
struct Span {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
};

inline void advance(Array& a, int64_t elements) {
  a.data = static_cast<char*>(a.data) + elements * item_bytes(a.dtype);
}

// Some channels of some images, with the filters and the biases of those channels.
inline Problem some_planes(const Problem& p, Span images, Span channels) {
  Problem part = p;
  part.batch = images.size();
  part.channels = channels.size();
  advance(part.x, images.begin * p.x.strides[0] + channels.begin * p.x.strides[1]);
  advance(part.y, images.begin * p.y.strides[0] + channels.begin * p.multiplier * p.y.strides[1]);
  advance(part.W, channels.begin * p.W.strides[1]);
  if (p.b.data) advance(part.b, channels.begin * p.multiplier * p.b.strides[0]);
  return part;
}

}  // namespace depthwise
