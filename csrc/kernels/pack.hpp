// Between memory and scratch: every dtype and stride in, the accumulator's type in vector order out, and back.
#pragma once
#include "../problem.hpp"
#include "../simd/common.hpp"
#include "require.hpp"

namespace {

using depthwise::DType;

template <class T>
struct Type {
  using type = T;
};

template <class F>
DEPTHWISE_INLINE void with_type(DType t, F&& f) {
  switch (t) {
    case DType::f16:
      return f(Type<f16>{});
    case DType::bf16:
      return f(Type<bf16>{});
    case DType::f32:
      return f(Type<float>{});
    case DType::f64:
      return f(Type<double>{});
  }
}

// Elements from row to row in scratch memory, of so many: not near a power of two, which would crowd a cache.
template <class E>
constexpr Step rows_apart(Step elements) {
  constexpr Step line = 64 / Step{sizeof(E)};
  return elements % (16 * line) ? elements : elements + 5 * line;
}

// The same from pixel to pixel.
template <class E>
constexpr Step pixels_apart(Step elements) {
  constexpr Step line = 64 / Step{sizeof(E)};
  return elements % (4 * line) ? elements : elements + line;
}

// The dtype of an accumulator.
template <class E>
constexpr DType dtype_of = sizeof(E) == 4 ? DType::f32 : DType::f64;

// Whether S can load and store vectors of T itself.
template <class S, class T>
constexpr bool vector_converts = __is_same(T, typename S::E) || (sizeof(typename S::E) == 4 && sizeof(T) == 2);

// Whether indices of elements `step` apart fit the 32 bits that S::gather may use.
template <class S>
DEPTHWISE_INLINE bool can_gather(Step step) {
  return step > -(Step{1} << 24) && step < Step{1} << 24;
}

// to[i] = from[i * step] for i < count, where no vector can be loaded.
template <class E, class T>
DEPTHWISE_NOINLINE void widen_one_by_one(E* to, const T* from, Step step, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = convert<E>(from[i * step]);
}

// to[i] = load(i)'s first element, and so on: the last vector laps over the one before. count >= S::N.
template <class S, class F>
DEPTHWISE_INLINE void fill_vectors(typename S::E* to, int64_t count, const F& load) {
  for (int64_t i = 0; i < count; i += S::N) {
    const int64_t at = at_most(i, count - S::N);
    S::store(to + at, load(at));
  }
}

// The same for elements that are not neighbours, in whole vectors: none reads anything but those elements and what lies
// between them.
template <class S, class T>
DEPTHWISE_NOINLINE void widen_apart(typename S::E* to, const T* from, Step step, int64_t count) {
  const auto apart = [&](int64_t at) { return S::gather(from + at * step, step); };
  if (step == -1)
    return fill_vectors<S>(to, count, [&](int64_t at) { return S::reversed(S::load(from - at - (S::N - 1))); });
  if (step == 2)
    return fill_vectors<S>(to, count, [&](int64_t at) {
      if (at + S::N == count) return apart(at);
      typename S::V even, odd;
      S::deinterleave(S::load(from + 2 * at), S::load(from + 2 * at + S::N), even, odd);
      return even;
    });
  if (step == 0) {
    const typename S::V same = S::set1(convert<typename S::E>(*from));
    return fill_vectors<S>(to, count, [&](int64_t) { return same; });
  }
  fill_vectors<S>(to, count, apart);
}

// to[i] = from[i * step] for i < count.
template <class S, class T>
inline void widen_span(typename S::E* to, const T* from, Step step, int64_t count) {
  if constexpr (vector_converts<S, T>)
    if (count >= S::N && can_gather<S>(step)) {
      if (step != 1) return widen_apart<S, T>(to, from, step, count);
      return fill_vectors<S>(to, count, [&](int64_t at) { return S::load(from + at); });
    }
  widen_one_by_one(to, from, step, count);
}

// to[i] = 0 for i < count.
template <class S>
inline void clear(typename S::E* to, int64_t count) {
  std::memset(to, 0, static_cast<size_t>(count) * sizeof(typename S::E));
}

// The same where elements are not neighbours, or too few: 16-bit floats are rounded a vector at a time.
template <class S, class T>
DEPTHWISE_NOINLINE void narrow_apart(T* to, Step step, const typename S::E* from, int64_t count) {
  int64_t i = 0;
  if constexpr (vector_converts<S, T> && sizeof(T) == 2)
    for (; i + S::N <= count; i += S::N) {
      T lanes[S::N];
      S::store(lanes, S::load(from + i));
      for (int k = 0; k < S::N; ++k) to[(i + k) * step] = lanes[k];
    }
  for (; i < count; ++i) to[i * step] = convert<T>(from[i]);
}

// to[i * step] = from[i] for i < count.
template <class S, class T>
inline void narrow_span(T* to, Step step, const typename S::E* from, int64_t count) {
  int64_t i = 0;
  if constexpr (vector_converts<S, T>)
    if (step == 1)
      for (; i + S::N <= count; i += S::N) S::store(to + i, S::load(from + i));
  if (i < count) narrow_apart<S>(to + i * step, step, from + i, count - i);
}

// to[i] = from[2 * i] + from[2 * i + 1] for i < count; both may be the same.
template <class S>
inline void fold_pairs(typename S::E* to, const typename S::E* from, int64_t count) {
  int64_t i = 0;
  if constexpr (S::N > 1)
    for (; i + S::N <= count; i += S::N) {
      typename S::V even, odd;
      S::deinterleave(S::load(from + 2 * i), S::load(from + 2 * i + S::N), even, odd);
      S::store(to + i, S::add(even, odd));
    }
  for (; i < count; ++i) to[i] = from[2 * i] + from[2 * i + 1];
}

// to[i] = the sum of from[i * fold + m] over m < fold, for i < count: halves at a time while `fold` is even. `from` is
// used up; both may be the same.
template <class S>
DEPTHWISE_NOINLINE void fold_span(typename S::E* to, typename S::E* from, int64_t count, int64_t fold) {
  for (; fold % 2 == 0; fold /= 2) fold_pairs<S>(fold == 2 ? to : from, from, count * fold / 2);
  if (fold == 1) return;
  int64_t i = 0;
  for (; i + S::N <= count; i += S::N) {
    typename S::V sum = S::gather(from + i * fold, fold);
    for (int64_t m = 1; m < fold; ++m) sum = S::add(sum, S::gather(from + i * fold + m, fold));
    S::store(to + i, sum);
  }
  for (; i < count; ++i) {
    typename S::E sum = from[i * fold];
    for (int64_t m = 1; m < fold; ++m) sum += from[i * fold + m];
    to[i] = sum;
  }
}

template <class E>
DEPTHWISE_NOINLINE E load_as(const void* data, DType t, Step at) {
  E value = 0;
  with_type(t, [&](auto type) { value = convert<E>(static_cast<const typename decltype(type)::type*>(data)[at]); });
  return value;
}

// Scratch memory is handed out in pieces aligned for the widest vectors. Without memory it only counts.
class Arena {
 public:
  explicit Arena(void* memory) : start_(reinterpret_cast<uintptr_t>(memory)), next_(start_) {
    DEPTHWISE_REQUIRE(start_ % 64 == 0, "memory is aligned for the widest vectors");
  }
  template <class T>
  T* take(int64_t count) {
    DEPTHWISE_REQUIRE(count >= 0, "a size is not negative");
    T* piece = reinterpret_cast<T*>(next_);
    next_ += (static_cast<uint64_t>(count) * sizeof(T) + 63) & ~uint64_t{63};
    return piece;
  }
  int64_t used_bytes() const { return static_cast<int64_t>(next_ - start_); }

 private:
  uintptr_t start_, next_;
};

}  // namespace
