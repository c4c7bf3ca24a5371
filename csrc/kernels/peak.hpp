// What the machine can do at most with one target: multiply-adds on registers alone.
#pragma once
#include "../simd/common.hpp"

namespace {

// Independent chains of multiply-adds: enough to fill two units of four cycles' latency.
constexpr int chains = 12;

// Floating-point operations of one round.
template <class S>
constexpr double multiply_add_flop = 2.0 * chains * S::N;

// `sink` keeps the work from being optimised away.
template <class S>
void spend_multiply_adds(int64_t rounds, double* sink) {
  typename S::V v[chains];
  for (int i = 0; i < chains; ++i) v[i] = S::set1(static_cast<typename S::E>(i + 1));
  const auto half = S::set1(static_cast<typename S::E>(0.5));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) v[i] = S::fma(v[i], half, half);
  typename S::V total = S::zero();
  for (int i = 0; i < chains; ++i) total = S::add(total, v[i]);
  *sink = static_cast<double>(S::sum(total));
}

}  // namespace
