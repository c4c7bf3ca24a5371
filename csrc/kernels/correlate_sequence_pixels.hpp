// Forward pass and input gradient of images of one line whose channels are neighbours in memory, which lanes hold. What
// a kernel reads and writes may be of 16 bits: it is converted in registers.
//
// A unit is a band of the line's columns of one image, for one group of channel vectors. The last vector laps over the
// one before, in the same group. Columns a dilation apart make
// the lines of a register tile, which all vectors of the group are taken through before the next, as memory lies.
#pragma once
#include "activation.hpp"
#include "line_tiles.hpp"
#include "staged_lines.hpp"
#include "transpose.hpp"

namespace {

using depthwise::Correlation;

template <class S, class T>
struct SequenceTile {
  using E = typename S::E;
  const T* x;  // the first tap's line for the first column, channel 0
  T* y;
  Step x_line, y_line;
  const E *weights, *bias;  // of the first vector: [vector][tap][lane], [vector][lane]
  int64_t taps;
  Range vectors;  // of channels
  int64_t channels;
  const TapChunk* chunks;
  int64_t chunk_count;
  depthwise::Activation activation;
};

template <class S, class T, int lines, int taps>
DEPTHWISE_INLINE void add_lines(typename S::V (&sum)[lines], const T* x, Step x_line, const typename S::E* w) {
  typename S::V weight[taps];
#pragma GCC unroll 8
  for (int a = 0; a < taps; ++a) weight[a] = S::pin(S::load(w + a * S::N));
#pragma GCC unroll 16
  for (int s = 0; s < lines + taps - 1; ++s, x += x_line) {
    const typename S::V v = S::pin(S::load(x));
#pragma GCC unroll 8
    for (int a = 0; a < taps; ++a)
      if (s - a >= 0 && s - a < lines) sum[s - a] = S::fma(v, weight[a], sum[s - a]);
  }
}

// The same where some lines lie beside the image, on sums in memory: there are few such.
template <class S, class T>
DEPTHWISE_NOINLINE void add_live_lines(typename S::E* sums, int lines, const T* x, Step x_line, const typename S::E* w,
                                       const TapChunk& chunk) {
  for (int s = 0; s < lines + chunk.taps - 1; ++s) {
    if (!(chunk.live >> s & 1)) continue;
    const typename S::V v = S::load(x + s * x_line);
    for (int a = 0; a < chunk.taps; ++a) {
      if (s - a < 0 || s - a >= lines) continue;
      typename S::E* sum = sums + (s - a) * S::N;
      S::store(sum, S::fma(v, S::load(w + a * S::N), S::load(sum)));
    }
  }
}

template <class S, class T, int lines>
DEPTHWISE_NOINLINE void run_sequence_tile(const SequenceTile<S, T>& tile) {
  using E = typename S::E;
  const E *weights = tile.weights, *bias = tile.bias;
  for (int64_t i = tile.vectors.begin; i < tile.vectors.end; ++i, weights += tile.taps * S::N, bias += S::N) {
    const Step channel = at_most(i * S::N, tile.channels - S::N);  // the last vector laps over the one before
    typename S::V sum[lines];
    const typename S::V start = S::load(bias);
#pragma GCC unroll 16
    for (int t = 0; t < lines; ++t) sum[t] = start;
    for (const TapChunk* c = tile.chunks; c < tile.chunks + tile.chunk_count; ++c) {
      const T* x = tile.x + channel + c->first * tile.x_line;
      const E* w = weights + c->first * S::N;
      if (__builtin_expect(c->live == (1u << (lines + c->taps - 1)) - 1u, 1)) {
        with_number<taps_together>(c->taps, [&](auto taps) __attribute__((always_inline)) {
          add_lines<S, T, lines, decltype(taps)::value>(sum, x, tile.x_line, w);
        });
        continue;
      }
      E stage[lines * S::N];
#pragma GCC unroll 16
      for (int t = 0; t < lines; ++t) S::store(stage + t * S::N, sum[t]);
      add_live_lines<S>(stage, lines, x, tile.x_line, w, *c);
#pragma GCC unroll 16
      for (int t = 0; t < lines; ++t) sum[t] = S::load(stage + t * S::N);
    }
    if (tile.activation != depthwise::Activation::none) {
      E stage[lines * S::N];
#pragma GCC unroll 16
      for (int t = 0; t < lines; ++t) S::store(stage + t * S::N, sum[t]);
      activate_span<S>(tile.activation, stage, lines * S::N);
#pragma GCC unroll 16
      for (int t = 0; t < lines; ++t) sum[t] = S::load(stage + t * S::N);
    }
    T* y = tile.y + channel;
#pragma GCC unroll 16
    for (int t = 0; t < lines; ++t, y += tile.y_line) S::store(y, sum[t]);
  }
}

template <class S>
class CorrelateSequencePixels {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateSequencePixels(const Correlation& job, void* scratch) : job_(job), line_(job.lattice, job.in.cross_size) {
    Arena arena(scratch);
    weights_ = arena.take<E>(most_vectors() * line_.taps() * S::N);
    bias_ = arena.take<E>(most_vectors() * S::N);
    widened_ = arena.take<E>(line_.taps() * S::N);
    line_.take(arena);
    staged_.take(arena, job.columns_packed, most_vectors());
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by group, image and band, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Band band = band_at(unit % (job_.bands * job_.batch), job_.bands, job_.band, job_.out.cross_size);
      enter_group(unit / (job_.bands * job_.batch));
      with_type(job_.in.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        if constexpr (vector_converts<S, T>) run_band<T>(band);
      });
    }
  }

 private:
  // Of a group, with the one that laps over.
  int64_t most_vectors() const { return job_.group + 1; }
  int64_t first_channel(int64_t vector) const { return at_most(vector * S::N, job_.out_channels - S::N); }

  void enter_group(int64_t group) {
    if (group == group_) return;
    group_ = group;
    const int64_t first = group * job_.group;
    vectors_ = {first, group + 1 < job_.groups ? first + job_.group : divide_up(job_.out_channels, S::N)};
    for (int64_t v = first; v < vectors_.end; ++v) {
      const int64_t c = first_channel(v);
      E* const bias = bias_ + (v - first) * S::N;
      S::store(bias, S::zero());
      if (job_.b)
        with_type(job_.b_dtype, [&](auto type) {
          using T = typename decltype(type)::type;
          widen_span<S, T>(bias, static_cast<const T*>(job_.b) + c * job_.b_stride, job_.b_stride, S::N);
        });
      with_type(job_.W_dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        pack(weights_ + (v - first) * line_.taps() * S::N, static_cast<const T*>(job_.W) + c * job_.W_channel);
      });
    }
  }

  // The taps of N channels in the order in which they read: [tap][lane].
  template <class T>
  void pack(E* to, const T* W) {
    if constexpr (vector_converts<S, T>)
      if (job_.W_cross == 1 && job_.W_channel == line_.taps()) {
        widen_span<S, T>(widened_, W, 1, S::N * line_.taps());
        columns_to_pixels<S>(to, widened_, line_.taps(), line_.taps());
        if (line_.taps() && line_.tap(0) > 0)  // of an input gradient the last tap reads first
          for (int64_t k = 0; k < line_.taps() / 2; ++k)
            swap_vectors(to + k * S::N, to + (line_.taps() - 1 - k) * S::N);
        return;
      }
    for (int64_t k = 0; k < line_.taps(); ++k)
      for (int64_t l = 0; l < S::N; ++l) *to++ = convert<E>(W[l * job_.W_channel + line_.tap(k) * job_.W_cross]);
  }
  static void swap_vectors(E* a, E* b) {
    const typename S::V v = S::load(a);
    S::store(a, S::load(b));
    S::store(b, v);
  }

  template <class T>
  void run_band(const Band& band) {
    Step line = job_.in.cross;
    const Range read = line_.inputs(band.rows);
    const Range channels{first_channel(vectors_.begin), first_channel(vectors_.end - 1) + S::N};
    const T* image =
        staged_.lines(static_cast<const T*>(job_.in.data) + band.image * job_.in.batch, read, channels, line);
    // With few taps memory decides, which has its difficulties with many lines at once (AVX2, EPYC of the fourth
    // generation, one thread, float32: 2048 channels of 1024 columns with 3 taps 2.0 ms by tiles of 8 lines, 0.84 by 4;
    // of 16 bits 0.69 and 0.74).
    const int64_t most = sizeof(T) > 2 && line_.taps() <= taps_together ? 4 : 8;
    line_.each_tile(band.rows, most, [&](int64_t column, auto lines) {
      constexpr int height = decltype(lines)::value;
      const int64_t chunks = line_.list_chunks(column, height);
      run_sequence_tile<S, T, height>(
          {.x = image + line_.input(column) * line,
           .y = static_cast<T*>(job_.out.data) + band.image * job_.out.batch + column * job_.out.cross,
           .x_line = line_.apart() * line,
           .y_line = line_.apart() * job_.out.cross,
           .weights = weights_,
           .bias = bias_,
           .taps = line_.taps(),
           .vectors = vectors_,
           .channels = job_.out_channels,
           .chunks = line_.chunks(),
           .chunk_count = chunks,
           .activation = job_.activation});
    });
  }

  const Correlation& job_;
  LineTiles line_;
  int64_t group_ = -1;
  Range vectors_ = {0, 0};
  E *weights_ = nullptr, *bias_ = nullptr, *widened_ = nullptr;
  StagedLines<S> staged_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
