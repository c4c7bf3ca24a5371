#include "weight_totals.hpp"

#include "kernels/pack.hpp"

namespace depthwise {
namespace {

int64_t taps(const Problem& p) { return p.d.kernel * p.h.kernel * p.w.kernel; }
int64_t outs(const Problem& p) { return p.channels * p.multiplier; }

}  // namespace

int64_t weight_totals(const Problem& p) { return outs(p) * (taps(p) + (p.b.data ? 1 : 0)); }

Problem into_totals(const Problem& p, double* totals) {
  Problem sums = p;
  sums.W = {totals, DType::f64, {p.channels * taps(p), taps(p), p.h.kernel * p.w.kernel, p.w.kernel, 1}};
  if (p.b.data) sums.b = {totals + outs(p) * taps(p), DType::f64, {1}};
  return sums;
}

void store_totals(const Problem& p, const double* totals) {
  with_type(p.W.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t* strides = p.W.strides;
    const double* next = totals;
    for (int64_t m = 0; m < p.multiplier; ++m)
      for (int64_t c = 0; c < p.channels; ++c)
        for (int64_t d = 0; d < p.d.kernel; ++d)
          for (int64_t h = 0; h < p.h.kernel; ++h)
            for (int64_t w = 0; w < p.w.kernel; ++w)
              static_cast<T*>(p.W.data)[m * strides[0] + c * strides[1] + d * strides[depth_axis] +
                                        h * strides[height_axis] + w * strides[width_axis]] = convert<T>(*next++);
  });
  if (!p.b.data) return;
  with_type(p.b.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t o = 0; o < outs(p); ++o)
      static_cast<T*>(p.b.data)[o * p.b.strides[0]] = convert<T>(totals[outs(p) * taps(p) + o]);
  });
}

}  // namespace depthwise
