// Lines of neighbouring channels that would push one another out of a first-level cache, because they lie a multiple of
// its ways apart: copied so that they do not.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "walk.hpp"

namespace {

template <class S>
class StagedLines {
  using E = typename S::E;

 public:
  // Room for so many lines of so many vectors of channels, if any are to be copied.
  void take(Arena& arena, int64_t lines, int64_t vectors) {
    most_ = lines;
    line_ = vectors * S::N + 64 / Step{sizeof(E)};  // the next one of a cache's places
    if (lines) copy_ = arena.take<E>(lines * line_);
  }

  // Some lines of an image, of some channels, where tiles are to find them: returns what stands for the image's start,
  // and in `line` the elements from line to line. Only memory of the sums' type is copied.
  template <class T>
  const T* lines(const T* image, Range lines, Range channels, Step& line) const {
    if constexpr (__is_same(T, E))
      if (copy_) {
        DEPTHWISE_REQUIRE(lines.size() <= most_ && channels.size() <= line_, "the lines fit");
        for (int64_t i = 0; i < lines.size(); ++i)
          widen_span<S, T>(copy_ + i * line_, image + (lines.begin + i) * line + channels.begin, 1, channels.size());
        line = line_;
        return copy_ - lines.begin * line_ - channels.begin;
      }
    return image;
  }

 private:
  int64_t most_ = 0;
  Step line_ = 0;
  E* copy_ = nullptr;
};

}  // namespace
