// The decode step of a causal convolution: what is new is appended to a state of the last inputs, the outputs are
// summed, and the state moves on. Lanes are channels. A unit is a group of vectors of channels, and goes through the
// whole batch: its weights are packed once, and of states that a batch names twice the second use sees what the first
// has left, whatever the number of threads.
#pragma once
#include "activation.hpp"
#include "job.hpp"
#include "pack.hpp"
#include "packed_pixels.hpp"
#include "require.hpp"

namespace {

using depthwise::CausalUpdate;

template <class S>
class UpdateCausally {
  using E = typename S::E;
  static constexpr int64_t general_columns = 64;  // what PackedPixels stages
  static constexpr int most_in_registers = 4;     // columns of a state

 public:
  // Lays the scratch memory out; without memory, only measures it.
  UpdateCausally(const CausalUpdate& job, void* scratch)
      : job_(job),
        kept_(job.starts ? job.width - 1 : job.state_length),
        window_size_((kept_ + job.piece) * S::N),
        lanes_{.channels = job.channels, .divide = 1, .sum = 1} {
    Arena arena(scratch);
    const int64_t lanes = job.group * S::N;
    weights_ = arena.take<E>(job.width * lanes);
    bias_ = arena.take<E>(lanes);
    windows_ = arena.take<E>(job.group * window_size_);
    sums_ = arena.take<E>(job.piece * lanes);
    dense_ = arena.take<E>(at_least(at_least(kept_, job.width), job.piece) * lanes);
    general_ = arena.take<E>(general_columns * S::N);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      first_ = unit * job_.group;
      vectors_ = at_most(job_.group, divide_up(job_.channels, S::N) - first_);
      whole_ = at_least(at_most(vectors_, job_.channels / S::N - first_), 0);
      done_ = 0;
      load(job_.W, weights_, job_.width * S::N, 0, job_.width);
      if (job_.b.data)
        load(job_.b, bias_, S::N, 0, 1);
      else
        clear<S>(bias_, vectors_ * S::N);
      for (int64_t n = 0; n < job_.batch; ++n) {
        const int64_t row = job_.rows ? job_.rows[n] : n;
        done_ = 0;
        if (row < 0) {
          store_zeros(n);
          continue;
        }
        if (fits_registers()) done_ = update_in_registers(n, row);
        if (done_ < vectors_) update(n, row);
      }
    }
  }

 private:
  // A window holds the columns that are kept of the state and behind them a piece of what is new.
  void update(int64_t n, int64_t row) {
    const Step state = row * job_.state.batch;
    const int64_t start = job_.starts ? job_.starts[n] : 0;
    if (job_.starts)
      in_circle(start - (job_.width - 1), job_.width - 1, [&](int64_t at, int64_t done, int64_t columns) {
        load(job_.state, windows_ + done * S::N, window_size_, state + at * job_.state.line, columns);
      });
    else
      load(job_.state, windows_, window_size_, state, kept_);
    int64_t columns = 0;
    for (int64_t t = 0; t < job_.length; t += job_.piece) {
      if (t) slide(columns);
      columns = at_most(job_.piece, job_.length - t);
      load(job_.x, windows_ + kept_ * S::N, window_size_, n * job_.x.batch + t * job_.x.line, columns);
      sum(columns);
      store(job_.y, sums_, job_.piece * S::N, n * job_.y.batch + t * job_.y.line, columns);
      if (job_.starts)
        in_circle(start + t, columns, [&](int64_t at, int64_t done, int64_t some) {
          store(job_.state, windows_ + (kept_ + done) * S::N, window_size_, state + at * job_.state.line, some);
        });
    }
    if (!job_.starts) store(job_.state, windows_ + columns * S::N, window_size_, state, kept_);
  }

  // f(first, how many came before, columns) for runs of neighbours among `columns` columns of a circular state.
  template <class F>
  void in_circle(int64_t from, int64_t columns, const F& f) const {
    const int64_t length = job_.state_length;
    int64_t at = from - floor_div(from, length) * length;
    for (int64_t done = 0; done < columns; at = 0) {
      const int64_t run = at_most(columns - done, length - at);
      f(at, done, run);
      done += run;
    }
  }

  void slide(int64_t columns) const {
    for (int64_t v = done_; v < vectors_; ++v) {
      E* window = windows_ + v * window_size_;
      std::memmove(window, window + columns * S::N, static_cast<size_t>(kept_ * S::N) * sizeof(E));
    }
  }

  // The bias and the products in ascending order of taps, as the forward pass adds them.
  void sum(int64_t columns) const {
    const int64_t first = kept_ - (job_.width - 1);
    for (int64_t v = done_; v < vectors_; ++v) {
      const E* weights = weights_ + v * job_.width * S::N;
      for (int64_t t = 0; t < columns; ++t) {
        const E* window = windows_ + v * window_size_ + (first + t) * S::N;
        auto total = S::load(bias_ + v * S::N);
        for (int64_t k = 0; k < job_.width; ++k)
          total = S::fma(S::load(weights + k * S::N), S::load(window + k * S::N), total);
        S::store(sums_ + (v * job_.piece + t) * S::N, total);
      }
      activate_span<S>(job_.activation, sums_ + v * job_.piece * S::N, columns * S::N);
    }
  }

  void store_zeros(int64_t n) const {
    clear<S>(sums_, vectors_ * job_.piece * S::N);
    for (int64_t t = 0; t < job_.length; t += job_.piece)
      store(job_.y, sums_, job_.piece * S::N, n * job_.y.batch + t * job_.y.line, at_most(job_.piece, job_.length - t));
  }

  // A step of one column, of a state of few columns that lie as lanes want them, never leaves the registers.
  bool fits_registers() const {
    const depthwise::Side &x = job_.x, &state = job_.state;
    const bool dense = state.line == 1 && state.channel == kept_;
    return whole_ && job_.length == 1 && !job_.starts && kept_ >= 1 && kept_ <= most_in_registers &&
           x.dtype == state.dtype && x.dtype == job_.y.dtype && x.channel == 1 && job_.y.channel == 1 &&
           (state.channel == 1 || dense);
  }

  // Vectors that Memory can hold: whole ones, and where it reads and writes what is beside them, not the last of the
  // unit, whose neighbour may be another thread's.
  template <class Memory>
  int64_t whole_of() const {
    return whole_ - (Memory::reaches_beside && whole_ && whole_ == vectors_);
  }

  // Returns how many vectors are done.
  int64_t update_in_registers(int64_t n, int64_t row) const {
    int64_t vectors = 0;
    with_type(job_.x.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      if constexpr (vector_converts<S, T>) {
        const auto at = [&](const depthwise::Side& side, int64_t place) {
          return static_cast<T*>(side.data) + place * side.batch + first_ * S::N * side.channel;
        };
        E* y = sums_;
        if constexpr (__is_same(T, E)) y = at(job_.y, n);
        with_number<most_in_registers>(kept_, [&](auto columns) {
          if (job_.state.channel == 1)
            step<columns.value, Pixels<T, columns.value>>(at(job_.x, n), at(job_.state, row), y, vectors);
          else
            step<columns.value, Planar<T, columns.value>>(at(job_.x, n), at(job_.state, row), y, vectors);
        });
        activate_span<S>(job_.activation, y, vectors * S::N);
        if constexpr (!__is_same(T, E)) narrow_span<S, T>(at(job_.y, n), 1, y, vectors * S::N);
      }
    });
    return vectors;
  }

  template <int columns, class Memory, class T>
  void step(const T* x, T* state, E* y, int64_t& vectors) const {
    vectors = whole_of<Memory>();
    // The oldest column is under a tap, too, or only those from `first` on.
    job_.width > columns ? step<columns, Memory, true>(x, state, y, vectors, 0)
                         : step<columns, Memory, false>(x, state, y, vectors, columns - (job_.width - 1));
  }

  template <int columns, class Memory, bool all, class T>
  void step(const T* x, T* state, E* y, int64_t vectors, int64_t first) const {
    const Step line = job_.state.line;
    const E* weights = weights_;
    typename S::V window[columns + 1], next[columns];
    if (vectors) Memory::load(next, state, line);
    for (int64_t v = 0; v < vectors; ++v, weights += job_.width * S::N) {
#pragma GCC unroll 4
      for (int k = 0; k < columns; ++k) window[k] = next[k];
      window[columns] = S::load(x + v * S::N);
      auto total = S::load(bias_ + v * S::N);
#pragma GCC unroll 5
      for (int k = all ? 0 : 1; k <= columns; ++k)
        if (all || k >= first) total = S::fma(S::load(weights + (k - first) * S::N), window[k], total);
      S::store(y + v * S::N, total);
      // Before what is stored beside this vector, of which a load would have to wait for.
      if (v + 1 < vectors) Memory::load(next, state + (v + 1) * S::N * Memory::apart, line);
      Memory::store(state + v * S::N * Memory::apart, line, window + 1);
    }
  }

  // Each column's channels are neighbours.
  template <class T, int columns>
  struct Pixels {
    static constexpr int apart = 1;
    static constexpr bool reaches_beside = false;
    static void load(typename S::V* to, const T* from, Step line) {
#pragma GCC unroll 4
      for (int i = 0; i < columns; ++i) to[i] = S::load(from + i * line);
    }
    static void store(T* to, Step line, const typename S::V* from) {
#pragma GCC unroll 4
      for (int i = 0; i < columns; ++i) S::store(to + i * line, from[i]);
    }
  };

  // Each channel's columns are neighbours, and channels lie one behind the other. Where a block has more columns, it
  // ends with the next channel's first, which are put back as they are to be.
  template <class T, int columns>
  struct Planar {
    static constexpr int apart = columns;
    static constexpr int block = S::block;
    static constexpr bool reaches_beside = columns < block;
    // Where the block that holds column i begins: the last laps over the one before it.
    static constexpr int at(int i) { return columns < block || i + block < columns ? i : columns - block; }

    static void load(typename S::V* to, const T* from, Step) {
#pragma GCC unroll 4
      for (int i = 0; i < columns; i += block) {
        typename S::V v[block];
#pragma GCC unroll 4
        for (int j = 0; j < block; ++j) v[j] = S::load_blocks(from + at(i) + j * columns, block * columns);
        S::transpose_blocks(v);
#pragma GCC unroll 4
        for (int j = 0; j < block; ++j)
          if (j < columns) to[at(i) + j] = v[j];
      }
    }
    static void store(T* to, Step, const typename S::V* from) {
#pragma GCC unroll 4
      for (int i = 0; i < columns; i += block) {
        typename S::V v[block];
#pragma GCC unroll 4
        for (int j = 0; j < block; ++j) {
          if (j < columns) {
            v[j] = from[at(i) + j];
          } else {
            const E next = convert<E>(to[S::N * columns + j - columns]);
            v[j] = S::shift_in(v[j - columns], &next);
          }
        }
        S::transpose_blocks(v);
#pragma GCC unroll 4
        for (int j = 0; j < block; ++j) S::store_blocks(to + at(i) + j * columns, block * columns, v[j]);
      }
    }
  };

  // Columns of this unit's channels to pixels: vector v's are at to + v * apart. `from` is channel 0 of the first.
  void load(const depthwise::Side& side, E* to, Step apart, Step from, int64_t columns) const {
    if (!columns) return;
    int64_t done = done_;
    with_type(side.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* data = static_cast<const T*>(side.data) + from + first_ * S::N * side.channel;
      if (side.channel == 1) {
        for (; done < whole_; ++done)
          for (int64_t i = 0; i < columns; ++i)
            widen_span<S, T>(to + done * apart + i * S::N, data + done * S::N + i * side.line, 1, S::N);
        return;
      }
      if (side.line != 1) return;
      if constexpr (vector_converts<S, T>)
        if (side.channel == columns && columns <= most_in_registers)
          with_number<most_in_registers>(columns, [&](auto number) {
            using Memory = Planar<T, number.value>;
            for (const int64_t end = whole_of<Memory>(); done < end; ++done) {
              typename S::V v[number.value];
              Memory::load(v, data + done * S::N * columns, 1);
#pragma GCC unroll 4
              for (int i = 0; i < number.value; ++i) S::store(to + done * apart + i * S::N, v[i]);
            }
          });
      if constexpr (__is_same(T, E)) {
        for (; done < whole_; ++done)
          columns_to_pixels<S>(to + done * apart, data + done * S::N * side.channel, side.channel, columns);
      } else if (side.channel == columns && done < whole_) {
        const int64_t first = done * S::N * columns;
        widen_span<S, T>(dense_ + first, data + first, 1, whole_ * S::N * columns - first);
        for (; done < whole_; ++done)
          columns_to_pixels<S>(to + done * apart, dense_ + done * S::N * columns, columns, columns);
      }
    });
    const PackedPixels<S> pixels = general(side);
    for (; done < vectors_; ++done) pixels.load(to + done * apart, from, first_ + done, columns);
  }

  // The way back.
  void store(const depthwise::Side& side, const E* from, Step apart, Step to, int64_t columns) const {
    if (!columns) return;
    int64_t done = done_;
    with_type(side.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      T* data = static_cast<T*>(side.data) + to + first_ * S::N * side.channel;
      if (side.channel == 1) {
        for (; done < whole_; ++done)
          for (int64_t i = 0; i < columns; ++i)
            narrow_span<S, T>(data + done * S::N + i * side.line, 1, from + done * apart + i * S::N, S::N);
      } else if (side.line != 1) {
        return;
      } else if constexpr (__is_same(T, E)) {
        for (; done < whole_; ++done)
          pixels_to_columns<S>(data + done * S::N * side.channel, side.channel, from + done * apart, columns);
      } else if (side.channel == columns && done < whole_) {
        const int64_t first = done * S::N * columns;
        for (; done < whole_; ++done)
          pixels_to_columns<S>(dense_ + done * S::N * columns, columns, from + done * apart, columns);
        narrow_span<S, T>(data + first, 1, dense_ + first, whole_ * S::N * columns - first);
      }
    });
    const PackedPixels<S> pixels = general(side);
    for (; done < vectors_; ++done) pixels.store(from + done * apart, to, first_ + done, columns);
  }

  PackedPixels<S> general(const depthwise::Side& side) const {
    PackedPixels<S> pixels(side, lanes_);
    Arena arena(general_);
    pixels.take(arena);
    return pixels;
  }

  const CausalUpdate& job_;
  const int64_t kept_, window_size_;
  const LaneChannels lanes_;
  E *weights_, *bias_, *windows_, *sums_, *dense_, *general_;
  int64_t scratch_bytes_, first_ = 0, vectors_ = 0, whole_ = 0, done_ = 0;
};

}  // namespace
