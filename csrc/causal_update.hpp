// The decode step of a causal convolution over one axis: what is asked of it, and who runs it.
#pragma once
#include "parallel.hpp"
#include "problem.hpp"
#include "targets.hpp"

namespace depthwise {

// One integer for each of a batch, of 4 or 8 bytes; null where there are none.
struct Integers {
  const void* data;
  int64_t stride, bytes;
};

// x and y (batch, channels, length), state (states, channels, state_length), W (channels, width), b (channels,);
// strides beyond these axes are not looked at. Output t sums b and the products of W with the last `width` inputs up to
// x[t], of which the first are the state's. Without `starts` the newest are at the state's end. With them it is a
// circle, in which x[n] goes to starts[n] (modulo its length) and what follows. `rows` are the batch's states; where
// one is negative, y is zero and no state is touched.
struct CausalUpdateProblem {
  int64_t batch, channels, length, width, states, state_length;
  Array x, state, W, b, y;
  Integers starts, rows;
  Activation activation;
};

// False, and nothing done, where the state lies among the memory of another array, as far as first and last addresses
// tell. Throws std::invalid_argument where the state's elements share memory, std::out_of_range where `rows` names no
// state, before anything is written.
bool update_causally(const CausalUpdateProblem&, const Target&, int threads, Executor&);

}  // namespace depthwise
