// Boxes of images that go on beyond their borders: copied out, and added back.
#pragma once
#include <array>
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
  void copy_elements(char* row, const char* image) const;
  void copy_pixels(char* row, const char* image) const;

  const Images from_;
  bool last_, pixels_, dense_;
  int64_t item_, channels_;
  Span inside_;  // columns of the box that lie inside the image
  std::vector<int64_t> d_, h_, w_;
};

// Places of an axis that is given: for each of `places` the element that stands there.
std::vector<int64_t> mirrored(Border, Span places, int64_t size);

// Adds `from`, which is the box of the images `to`, where its elements come from, in an order that does not depend on
// the threads. Both are of float32 or of float64.
void add_box(const Images& from, Border, const Box&, const Images& to, int threads, Executor&);

// to = from, rounded.
void round_to(const Images& from, const Images& to, int threads, Executor&);

}  // namespace depthwise
