// One file for each kind of job: correlations and weight gradients with lanes along columns (planar) or along channels.
#pragma once
#include "candidates.hpp"

namespace depthwise {

// What is asked, in the words of kernels; of the plan's numbers those of a job that is one unit.
Correlation correlation_of(const Facts&, const LatticeView&, bool channel_lanes, bool in_direct, bool out_direct);
WeightGradient weight_gradient_of(const Facts&, const LatticeView&, bool channel_lanes, bool x_direct, bool g_direct);

Planned<Correlation> plan_planar(const Facts&, const LatticeView&, const Kernel<Correlation>&, Form);
Planned<Correlation> plan_channels_last(const Facts&, const LatticeView&, const Kernel<Correlation>&, Form);
Planned<Correlation> plan_sequence(const Facts&, const LatticeView&, const Kernel<Correlation>&, Form);
Planned<Correlation> plan_sequence_pixels(const Facts&, const LatticeView&, const Kernel<Correlation>&, Form);
Planned<WeightGradient> plan_sequence_pixels(const Facts&, const LatticeView&, const Kernel<WeightGradient>&, Form);
Planned<WeightGradient> plan_sequence(const Facts&, const LatticeView&, const Kernel<WeightGradient>&, Form);
Planned<WeightGradient> plan_planar(const Facts&, const LatticeView&, const Kernel<WeightGradient>&, Form);
Planned<WeightGradient> plan_channels_last(const Facts&, const LatticeView&, const Kernel<WeightGradient>&, Form);

// walk.cpp: the only place where the machine's caches and the number of threads count.
void walk_planar(const Facts&, const Machine&, int threads, Correlation&);
void walk_channels_last(const Facts&, const Machine&, int threads, Correlation&);
void walk_converted_pixels(const Facts&, const Machine&, int threads, Correlation&);
void walk_sequence(const Facts&, const Machine&, int threads, Correlation&);
void walk_sequence_pixels(const Facts&, const Machine&, int threads, Correlation&);
void walk_sequence(const Facts&, const Machine&, int threads, WeightGradient&);
void walk_planar(const Facts&, const Machine&, int threads, WeightGradient&);
void walk_channels_last(const Facts&, const Machine&, int threads, WeightGradient&);
int threads_for(const Facts&, int64_t units, int most_threads);

// How many outputs of the other axis lie from one to the next of its phase.
inline int64_t cross_out_step(const LatticeView& lat) {
  return lat.cross_phase_count ? lat.cross_phases[0].out_step : 1;
}

// Whether a tile's lines are neighbours in memory.
inline bool tiles_are_whole(const LatticeView& lat) {
  return lat.line_phase_count == 1 && lat.line_phases[0].out_step == 1;
}

}  // namespace depthwise
