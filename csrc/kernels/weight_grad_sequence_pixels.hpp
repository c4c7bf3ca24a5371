// Weight gradient of images of one line whose channels are neighbours in memory, which lanes hold. What it reads may be
// of 16 bits: it is converted in registers.
//
// A unit is one group of channel vectors and one part of the images and bands of columns. Columns of gy a dilation
// apart stand in registers, while the columns of x that they meet pass by.
#pragma once
#include "channel_sums.hpp"
#include "line_tiles.hpp"
#include "staged_lines.hpp"
#include "sums.hpp"

namespace {

using depthwise::WeightGradient;

template <class S, class T>
struct GradientTile {
  using E = typename S::E;
  const T *x, *g;  // the first tap's line for the first column of gy, and that, of channel 0
  Step x_line, g_line;
  E* sums;  // of the first vector: [vector][tap][lane]
  int64_t taps;
  Range vectors;  // of channels
  int64_t channels;
  const TapChunk* chunks;
  int64_t chunk_count;
};

template <class S, class T, int lines, int taps>
DEPTHWISE_INLINE void add_line_products(const typename S::V (&g)[lines], const T* x, Step x_line, typename S::E* sums) {
  typename S::V sum[taps];
#pragma GCC unroll 8
  for (int a = 0; a < taps; ++a) sum[a] = S::load(sums + a * S::N);
#pragma GCC unroll 16
  for (int s = 0; s < lines + taps - 1; ++s, x += x_line) {
    const typename S::V v = S::pin(S::load(x));
#pragma GCC unroll 8
    for (int a = 0; a < taps; ++a)
      if (s - a >= 0 && s - a < lines) sum[a] = S::fma(v, g[s - a], sum[a]);
  }
#pragma GCC unroll 8
  for (int a = 0; a < taps; ++a) S::store(sums + a * S::N, sum[a]);
}

// The same where some lines of x lie beside the image: there are few such.
template <class S, class T>
DEPTHWISE_NOINLINE void add_live_products(const T* g, Step g_line, int lines, const T* x, Step x_line,
                                          typename S::E* sums, const TapChunk& chunk) {
  for (int s = 0; s < lines + chunk.taps - 1; ++s) {
    if (!(chunk.live >> s & 1)) continue;
    const typename S::V v = S::load(x + s * x_line);
    for (int a = 0; a < chunk.taps; ++a) {
      if (s - a < 0 || s - a >= lines) continue;
      S::store(sums + a * S::N, S::fma(v, S::load(g + (s - a) * g_line), S::load(sums + a * S::N)));
    }
  }
}

template <class S, class T, int lines>
DEPTHWISE_NOINLINE void run_gradient_tile(const GradientTile<S, T>& tile) {
  auto* sums = tile.sums;
  for (int64_t i = tile.vectors.begin; i < tile.vectors.end; ++i, sums += tile.taps * S::N) {
    const Step channel = at_most(i * S::N, tile.channels - S::N);  // the last vector laps over the one before
    const T* gy = tile.g + channel;
    typename S::V g[lines];
#pragma GCC unroll 16
    for (int t = 0; t < lines; ++t) g[t] = S::pin(S::load(gy + t * tile.g_line));
    for (const TapChunk* c = tile.chunks; c < tile.chunks + tile.chunk_count; ++c) {
      const T* x = tile.x + channel + c->first * tile.x_line;
      if (__builtin_expect(c->live == (1u << (lines + c->taps - 1)) - 1u, 1))
        with_number<taps_together>(c->taps, [&](auto taps) __attribute__((always_inline)) {
          add_line_products<S, T, lines, decltype(taps)::value>(g, x, tile.x_line, sums + c->first * S::N);
        });
      else
        add_live_products<S>(gy, tile.g_line, lines, x, tile.x_line, sums + c->first * S::N, *c);
    }
  }
}

template <class S>
class WeightGradSequencePixels {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradSequencePixels(const WeightGradient& job, void* scratch)
      : job_(job), line_(job.lattice, job.x.cross_size), bias_(job) {
    Arena arena(scratch);
    sums_.take(arena, job.group, line_.taps());
    bias_.take(arena);
    line_.take(arena);
    x_.take(arena, job.columns_packed, job.group);
    g_.take(arena, job.columns_packed ? job.band : 0, job.group);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const Cut parts{.size = job_.batch * job_.bands, .count = job_.parts};
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t part = unit % job_.parts, first = unit / job_.parts * job_.group;
      const Range cells{parts.begin(part), parts.end(part)};
      const Range vectors{first, at_most(first + job_.group, divide_up(job_.out_channels, S::N))};
      if (line_.taps()) {
        sums_.clear();
        for (int64_t cell = cells.begin; cell < cells.end; ++cell)
          run_band(band_at(cell, job_.bands, job_.band, job_.g.cross_size), vectors);
        for (int64_t v = vectors.begin; v < vectors.end; ++v)
          store_channels(job_, part, first_channel(v), v * S::N, line_.taps(), sums_, v - first);
      }
      if (job_.gb_sums) bias_.add(cells, vectors, job_.gb_sums + part * job_.out_channels);
    }
  }

 private:
  void run_band(const Band& band, Range vectors) {
    for (int64_t set = 0; set < vectors.size(); ++set) sums_.count(set, band.rows.size());
    with_type(job_.x.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      if constexpr (vector_converts<S, T>) run_tiles<T>(band, vectors);
    });
  }

  template <class T>
  void run_tiles(const Band& band, Range vectors) {
    const Range channels{first_channel(vectors.begin), first_channel(vectors.end - 1) + S::N};
    Step x_line = job_.x.cross, g_line = job_.g.cross;
    const T* x = x_.lines(static_cast<const T*>(job_.x.data) + job_.x.plane(band.image), line_.inputs(band.rows),
                          channels, x_line);
    const T* g = g_.lines(static_cast<const T*>(job_.g.data) + job_.g.plane(band.image), band.rows, channels, g_line);
    line_.each_tile(band.rows, 8, [&](int64_t column, auto lines) {
      constexpr int height = decltype(lines)::value;
      const int64_t chunks = line_.list_chunks(column, height);
      run_gradient_tile<S, T, height>({.x = x + line_.input(column) * x_line,
                                       .g = g + column * g_line,
                                       .x_line = line_.apart() * x_line,
                                       .g_line = line_.apart() * g_line,
                                       .sums = sums_.set(0),
                                       .taps = line_.taps(),
                                       .vectors = vectors,
                                       .channels = job_.out_channels,
                                       .chunks = line_.chunks(),
                                       .chunk_count = chunks});
    });
  }

  int64_t first_channel(int64_t vector) const { return at_most(vector * S::N, job_.out_channels - S::N); }

  const WeightGradient& job_;
  LineTiles line_;
  Sums<S> sums_;
  ChannelSums<S> bias_;
  StagedLines<S> x_, g_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
