// Boxes of images that go on beyond their borders: copied out, and added back.
#pragma once
#include <array>
#include <cstddef>
#include <vector>

#include "parallel.hpp"
#include "problem.hpp"
#include "subproblems.hpp"

namespace depthwise {

// Of depth, height and width; places outside the image are negative or not less than its size.
using Box = std::array<Span, 3>;

// The element that stands at a place of an axis of so many, by the period of what is repeated. `size` is not 0.
int64_t mirrored(Border, int64_t place, int64_t size);

// Images and channels of an array, and its sizes in depth, height and width.
struct Images {
  Array array;
  int64_t batch, channels;
  int64_t sizes[3];
};

// Whether channels are the closest.
bool channels_last(const Images&);

// An array for a box of each plane, in memory of its own: channels, or else columns, are closest as they are in
// `images`.
Images box_of(const Images& images, const Box&, DType, void* data);

// Copies a box of each plane, or rows of it.
class BoxCopy {
 public:
  BoxCopy(const Images& from, Border, const Box&);

  // Rows [begin, end) of plane d of the box, of image n and channel c (or of all channels, where pixels are copied), to
  // where the first of them is to lie. Planar copies have dense rows, others dense pixels.
  void copy_rows(int64_t n, int64_t c, int64_t d, Span rows, void* to) const;
  // All of it, to what box_of has made of `from`.
  void copy(const Images& to, int threads, Executor&) const;

 private:
  template <class T>
  void copy_elements(char* to, const char* plane, Span rows) const;
  void copy_pixels(char* to, const char* plane, Span rows) const;

  const Images from_;
  bool last_, pixels_, dense_;
  int64_t item_, channels_;
  Span inside_;  // columns of the box that lie inside the image
  std::vector<int64_t> d_, h_, w_;
};

// Places of an axis that is given: for each of `places` the element that stands there.
std::vector<int64_t> mirrored(Border, Span places, int64_t size);

// Sums of a box of places.
struct Placed {
  Images images;
  Box box;
};

// Adds what is `beside` an image of so many along an axis to the places of `target` that it comes from along that axis,
// in their order; of the other axes to the same places, which `beside` has. Both are of float32 or of float64.
void add_along(size_t axis, Border, int64_t size, const Placed& beside, const Placed& target, int threads, Executor&);

// Boxes of planar images, by planes that are dense: what lies beside the image is added where it comes from, one axis
// after the other and place by place, as add_along does; and the image is rounded.
class BoxFold {
 public:
  BoxFold(const Images& to, Border, const Box&);

  // Of image n and channel c; `box`, of float32 or of float64, is spoilt.
  void fold(DType, void* box, int64_t n, int64_t c) const;

 private:
  struct Place {
    int64_t beside, inside;
  };
  std::vector<Place> beside(std::size_t axis, Border) const;
  template <class T>
  void add_up(T* box) const;
  template <class T, class U>
  void store(const T* box, U* image) const;

  const Images to_;
  const Box box_;
  std::vector<Place> d_, h_, w_;
};

// to = from, rounded.
void round_to(const Images& from, const Images& to, int threads, Executor&);

}  // namespace depthwise
