// The kernels of one target, as its file in targets/ exports them.
#pragma once
#include "correlate_channels_last.hpp"
#include "correlate_converted.hpp"
#include "correlate_planar.hpp"
#include "peak.hpp"
#include "weight_grad_channels_last.hpp"
#include "weight_grad_planar.hpp"

namespace {

constexpr depthwise::Kernels kernels_of_this_target = {
    {F32::N, F64::N},
    F32::Half::N < F32::N ? F32::Half::N : 0,
    max_lines,
    {correlate_planar<F32>, correlate_planar<F64>},
    {correlate_converted<F32>, correlate_converted<F64>},
    {correlate_channels_last<F32>, correlate_channels_last<F64>},
    {weight_grad_planar<F32>, weight_grad_planar<F64>},
    {weight_grad_channels_last<F32>, weight_grad_channels_last<F64>},
    {spend_multiply_adds<F32>, spend_multiply_adds<F64>},
    {multiply_add_flop<F32>, multiply_add_flop<F64>},
};

}  // namespace
