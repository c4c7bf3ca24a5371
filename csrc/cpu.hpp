// What this CPU and its operating system can run: the only place that asks.
#pragma once

namespace depthwise {

bool cpu_has_sse4();
bool cpu_has_avx2();
bool cpu_has_avx512();
bool cpu_has_neon();

}  // namespace depthwise
