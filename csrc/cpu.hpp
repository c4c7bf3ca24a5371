// What this CPU and its operating system can run and lend: the only place that asks.
#pragma once

namespace depthwise {

bool cpu_has_sse4();
bool cpu_has_avx2();
bool cpu_has_avx512();
bool cpu_has_neon();

// DEPTHWISE_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use: those that its affinity names,
// and no more than its container's quota of their time pays for.
int default_threads();

// The CPUs that a control group's quota pays for, rounded up; 0 where there is none. `text` is its cpu.max: a quota, or
// "max", and a period.
int cpus_of_quota(const char* text);

// The least of the control groups that this process is in, from its own up to the root; 0 where there is no quota.
int cpus_of_all_quotas();

}  // namespace depthwise
