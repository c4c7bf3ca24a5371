// Columns of planar memory to pixels of N lanes each, and back: blocks are transposed in registers.
#pragma once
#include "../simd/common.hpp"

namespace {

template <class S>
inline void copy_apart(typename S::E* to, Step to_column, Step to_lane, const typename S::E* from, Step column,
                       Step lane, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t l = 0; l < S::N; ++l) to[i * to_column + l * to_lane] = from[i * column + l * lane];
}

// From N spans of columns, `lane` apart, to pixels of N lanes. The last block laps over the one before it, so that
// nothing beside the columns is touched.
template <class S>
inline void columns_to_pixels(typename S::E* to, const typename S::E* from, Step lane, int64_t columns) {
  for (int64_t i = 0; i < columns; i += S::block) {
    if (columns < S::block) return copy_apart<S>(to, S::N, 1, from, 1, lane, columns);
    const int64_t at = at_most(i, columns - S::block);
    typename S::V v[S::block];
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) v[j] = S::load_blocks(from + at + j * lane, S::block * lane);
    S::transpose_blocks(v);
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) S::store(to + (at + j) * S::N, v[j]);
  }
}

// The way back.
template <class S>
inline void pixels_to_columns(typename S::E* to, Step lane, const typename S::E* from, int64_t columns) {
  for (int64_t i = 0; i < columns; i += S::block) {
    if (columns < S::block) return copy_apart<S>(to, 1, lane, from, S::N, 1, columns);
    const int64_t at = at_most(i, columns - S::block);
    typename S::V v[S::block];
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) v[j] = S::load(from + (at + j) * S::N);
    S::transpose_blocks(v);
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) S::store_blocks(to + at + j * lane, S::block * lane, v[j]);
  }
}

}  // namespace
