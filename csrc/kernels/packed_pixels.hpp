// Between memory of any strides and dtype and scratch rows that hold one vector of channels a column, in the
// accumulator's type: where lanes run along channels but memory does not, blocks of it are transposed.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "transpose.hpp"
#include "walk.hpp"

namespace {

// Lane l of vector v holds channel (v * N + l) / divide * sum of memory, for v * N + l < channels: the first of those
// that are summed.
struct LaneChannels {
  int64_t channels, divide, sum;
};

// The lanes of vector v that hold a channel.
template <class S>
inline int64_t lanes_in(int64_t v, int64_t channels) {
  DEPTHWISE_REQUIRE(v >= 0 && v * S::N < channels, "a vector has a channel");
  return at_most(S::N, channels - v * S::N);
}

template <class S>
class PackedPixels {
  using E = typename S::E;
  static constexpr int64_t staged = 64;  // columns that are converted at once before they are transposed

 public:
  PackedPixels(const depthwise::Side& side, const LaneChannels& lanes) : side_(side), lanes_(lanes) {}

  void take(Arena& arena) {
    if (!lies_ready()) stage_ = arena.take<E>(S::N * staged);
  }

  // `columns` columns of a row of vector v; `from` is the element at the first of them, channel 0.
  void load(E* to, Step from, int64_t v, int64_t columns) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* data = static_cast<const T*>(side_.data) + from;
      const int64_t lanes = lanes_in<S>(v, lanes_.channels);
      if (lanes_.divide == 1 && lanes_.sum == 1 && side_.channel == 1 && lanes == S::N) {
        for (int64_t i = 0; i < columns; ++i)
          widen_span<S, T>(to + i * S::N, data + v * S::N + i * side_.line, 1, S::N);
        return;
      }
      if (side_.channel == 0) {  // one element for all channels, as a sum's gradient has
        const typename S::M used = S::mask(0, lanes);
        for (int64_t i = 0; i < columns; ++i)
          S::store(to + i * S::N, S::keep(S::set1(convert<E>(data[i * side_.line])), used));
        return;
      }
      if constexpr (__is_same(T, E))
        if (lanes_.divide == 1 && side_.line == 1 && lanes == S::N && columns >= S::block)
          return columns_to_pixels<S>(to, data + v * S::N * lanes_.sum * side_.channel, lanes_.sum * side_.channel,
                                      columns);
      for (int64_t l = lanes; l < S::N; ++l)
        for (int64_t i = 0; i < staged; ++i) stage_[l * staged + i] = 0;
      for (int64_t at = 0; at < columns; at += staged) {
        const int64_t count = at_most(staged, columns - at);
        for (int64_t l = 0; l < lanes; ++l)
          widen_span<S, T>(stage_ + l * staged,
                           data + (v * S::N + l) / lanes_.divide * lanes_.sum * side_.channel + at * side_.line,
                           side_.line, count);
        columns_to_pixels<S>(to + at * S::N, stage_, staged, count);
      }
    });
  }

  // The same for some vectors, whose columns lie `apart` elements behind those of the one before: pixel by pixel where
  // channels are neighbours, so that each line of a cache is read once.
  void load(E* to, Step apart, Step from, Range vectors, int64_t columns) const {
    const bool together = lanes_.divide == 1 && lanes_.sum == 1 && side_.channel == 1;
    const int64_t whole = together ? clamp(lanes_.channels / S::N, vectors.begin, vectors.end) : vectors.begin;
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      int64_t v = vectors.begin;
      if constexpr (vector_converts<S, T>) {
        const T* data = static_cast<const T*>(side_.data) + from + v * S::N;
        for (; v + 2 <= whole; v += 2, data += 2 * S::N, to += 2 * apart) {
          const T* pixel = data;
          E *first = to, *second = to + apart;
          for (int64_t i = 0; i < columns; ++i, pixel += side_.line, first += S::N, second += S::N) {
            // Hardware sees no order in slices of pixels: the line of the next two vectors is asked for here.
            __builtin_prefetch(pixel + 2 * S::N, 0, 2);
            S::store(first, S::load(pixel));
            S::store(second, S::load(pixel + S::N));
          }
        }
      }
      for (; v < vectors.end; ++v, to += apart) load(to, from, v, columns);
    });
  }

  // The way back, where every channel has a lane of its own.
  void store(const E* from, Step to, int64_t v, int64_t columns) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      T* data = static_cast<T*>(side_.data) + to + v * S::N * side_.channel;
      const int64_t lanes = lanes_in<S>(v, lanes_.channels);
      if (side_.channel == 1) {
        for (int64_t i = 0; i < columns; ++i) narrow_span<S, T>(data + i * side_.line, 1, from + i * S::N, lanes);
        return;
      }
      if constexpr (__is_same(T, E))
        if (side_.line == 1 && lanes == S::N && columns >= S::block && !crowded())
          return pixels_to_columns<S>(data, side_.channel, from, columns);
      for (int64_t at = 0; at < columns; at += staged) {
        const int64_t count = at_most(staged, columns - at);
        pixels_to_columns<S>(stage_, staged, from + at * S::N, count);
        for (int64_t l = 0; l < lanes; ++l)
          narrow_span<S, T>(data + l * side_.channel + at * side_.line, side_.line, stage_ + l * staged, count);
      }
    });
  }

 private:
  // Planes that lie a multiple of 4 KiB apart share one place of a first-level cache, where blocks stored to all of
  // them push one another out: then rows are stored one by one (AVX-512, EPYC of the fifth generation, input gradient
  // of 128x64x64 with 3x3, stride 2: 308 us in blocks, 137 in rows; loads gain nothing).
  bool crowded() const { return side_.channel * static_cast<Step>(sizeof(E)) % 4096 == 0; }
  bool lies_ready() const {
    return side_.channel == 1 && lanes_.divide == 1 && lanes_.sum == 1 && lanes_.channels % S::N == 0;
  }

  const depthwise::Side& side_;
  const LaneChannels lanes_;
  E* stage_ = nullptr;
};

}  // namespace
