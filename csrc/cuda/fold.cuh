// The gradient of padding by the image's own elements: each element's copies are added up, rows first, in their order.
#pragma once
#include "elements.cuh"

namespace depthwise::cuda {

using Sum = DW_SUM;

// The next place from `i` on, of a padded axis, that holds this element of the image; padded_size where none does. Of
// the image itself only the element's own place does.
__device__ __forceinline__ int next_copy(int i, int element, int before, int size, int padded_size) {
  while (i < padded_size) {
    const int at = i - before;
    const bool inside = within(at, size);
    if (inside ? at == element : place<DW_BORDER>(at, size) == element) return i;
    i = inside ? before + (at < element ? element : size) : i + 1;
  }
  return padded_size;
}

__device__ __forceinline__ void fold_element(const FoldParameters& p, unsigned thread) {
  if (thread >= p.threads) return;
  int at[3], channel;
  if (DW_PLANAR) {
    at[2] = next_digit(thread, p.digit[0]);
    at[1] = next_digit(thread, p.digit[1]);
    at[0] = next_digit(thread, p.digit[2]);
    channel = next_digit(thread, p.digit[3]);
  } else {
    channel = next_digit(thread, p.digit[0]);
    at[2] = next_digit(thread, p.digit[1]);
    at[1] = next_digit(thread, p.digit[2]);
    at[0] = next_digit(thread, p.digit[3]);
  }
  const int channels = static_cast<int>((DW_PLANAR ? p.digit[3] : p.digit[0]).by);
  const long long image = static_cast<long long>(thread);
  const int (&padded)[3] = p.padded_size;
  const Sum* const plane = static_cast<const Sum*>(p.padded);
  Sum sum = 0;
  for (int z = next_copy(0, at[0], p.before[0], p.size[0], padded[0]); z < padded[0];
       z = next_copy(z + 1, at[0], p.before[0], p.size[0], padded[0]))
    for (int i = next_copy(0, at[1], p.before[1], p.size[1], padded[1]); i < padded[1];
         i = next_copy(i + 1, at[1], p.before[1], p.size[1], padded[1]))
      for (int j = next_copy(0, at[2], p.before[2], p.size[2], padded[2]); j < padded[2];
           j = next_copy(j + 1, at[2], p.before[2], p.size[2], padded[2])) {
        const long long pixel = (static_cast<long long>(z) * padded[1] + i) * padded[2] + j;
        const long long pixels = static_cast<long long>(padded[0]) * padded[1] * padded[2];
        sum += DW_PLANAR ? plane[(image * channels + channel) * pixels + pixel]
                         : plane[(image * pixels + pixel) * channels + channel];
      }
  static_cast<Stored<DW_WRITTEN>*>(
      p.gx)[image * p.gx_strides.image + channel * p.gx_strides.channel + at[0] * p.gx_strides.depth +
            at[1] * p.gx_strides.row + at[2] * p.gx_strides.col] = rounded<DW_WRITTEN>(sum);
}

}  // namespace depthwise::cuda

extern "C" __global__ void __launch_bounds__(DW_THREADS)
    fold(const __grid_constant__ depthwise::cuda::FoldParameters p) {
  depthwise::cuda::fold_element(p, blockIdx.x * DW_THREADS + threadIdx.x);
}
