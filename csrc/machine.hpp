// The caches of this machine. How memory is walked hangs on them, and no bit of a result does: what bits hang on is
// decided from the shapes and the target alone.
#pragma once
#include <cstdint>
#include <string>

namespace depthwise {

struct Machine {
  // Bytes of the data caches that a core has, from the nearest on. The last is shared: it is this process's part where
  // a container's quota pays for fewer CPUs than share it.
  int64_t first_cache, second_cache, last_cache;
  int cpus_sharing;  // the last
  // Whether arrays that no cache holds are walked and stored so that they leave the caches alone: AMD's processors are
  // faster so, Intel's are not, and NEON has no such stores (Xeon of the second generation, one thread, ms, so and
  // not: AVX-512, planes, 8x1000x1000 with 3x3 9.2 and 6.8, 16x32x112x112 8.7 and 6.6; pixels, 32x96x56x56 with 7x7
  // 25.8 and 18.1, AVX2 30.5 and 23.4, 64x512x28x28 with 3x3 39.6 and 29.4; numbers.hpp has AMD's).
  bool spares_caches = true;
};

// DEPTHWISE_CACHES where it is set, else what the system says, else the processor, else typical sizes. Asked for once.
// Throws std::invalid_argument where DEPTHWISE_CACHES is not as parse_caches wants it.
const Machine& this_machine();

// "32", "32K", "32M" or "32G"; negative where it is none of these.
int64_t bytes_of(const std::string& text);

// Three sizes from the nearest cache on, such as "32K,1M,32M", of a processor as AMD's. Throws std::invalid_argument
// where it is not so.
Machine parse_caches(const std::string& text);

}  // namespace depthwise
