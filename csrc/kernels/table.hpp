// The kernels of one target, as its file in targets/ exports them.
#pragma once
#include "activation_grad.hpp"
#include "causal_update.hpp"
#include "correlate_channels_last.hpp"
#include "correlate_converted.hpp"
#include "correlate_converted_pixels.hpp"
#include "correlate_planar.hpp"
#include "correlate_sequence.hpp"
#include "correlate_sequence_pixels.hpp"
#include "correlate_spectral.hpp"
#include "peak.hpp"
#include "weight_grad_channels_last.hpp"
#include "weight_grad_converted.hpp"
#include "weight_grad_planar.hpp"
#include "weight_grad_sequence.hpp"
#include "weight_grad_sequence_pixels.hpp"
#include "weight_grad_spectral.hpp"

namespace {

template <class Job, class K>
constexpr depthwise::Kernel<Job> kernel = {
    [](const Job& job) { return K(job, nullptr).scratch_bytes(); },
    [](const Job& job, int64_t begin, int64_t end, void* scratch) { K(job, scratch).run(begin, end); }};

constexpr depthwise::Kernels kernels_of_this_target = {
    {F32::N, F64::N},
    max_lines,
    F32::masked_fma,
    most_columns,
    has_pairs<F32>,
    most_taps_at_once<F32, 2>,
    {spread_block<F32>, spread_block<F64>},
    {kernel<Correlation, CorrelatePlanar<F32>>, kernel<Correlation, CorrelatePlanar<F64>>},
    {kernel<Correlation, CorrelateConverted<F32>>, kernel<Correlation, CorrelateConverted<F64>>},
    {kernel<Correlation, CorrelateChannelsLast<F32>>, kernel<Correlation, CorrelateChannelsLast<F64>>},
    {kernel<Correlation, CorrelateConvertedPixels<F32>>, kernel<Correlation, CorrelateConvertedPixels<F64>>},
    {kernel<Correlation, CorrelateSequence<F32>>, kernel<Correlation, CorrelateSequence<F64>>},
    {kernel<Correlation, CorrelateSequencePixels<F32>>, kernel<Correlation, CorrelateSequencePixels<F64>>},
    {kernel<WeightGradient, WeightGradPlanar<F32>>, kernel<WeightGradient, WeightGradPlanar<F64>>},
    {kernel<WeightGradient, WeightGradConverted<F32>>, kernel<WeightGradient, WeightGradConverted<F64>>},
    {kernel<WeightGradient, WeightGradChannelsLast<F32>>, kernel<WeightGradient, WeightGradChannelsLast<F64>>},
    {kernel<WeightGradient, WeightGradSequence<F32>>, kernel<WeightGradient, WeightGradSequence<F64>>},
    {kernel<WeightGradient, WeightGradSequencePixels<F32>>, kernel<WeightGradient, WeightGradSequencePixels<F64>>},
    {kernel<Spectral, CorrelateSpectral<F32>>, kernel<Spectral, CorrelateSpectral<F64>>},
    {kernel<Spectral, TransformFilters<F32>>, kernel<Spectral, TransformFilters<F64>>},
    {kernel<Spectral, WeightGradSpectral<F32>>, kernel<Spectral, WeightGradSpectral<F64>>},
    {kernel<ActivationGradient, ActivationGrad<F32>>, kernel<ActivationGradient, ActivationGrad<F64>>},
    {kernel<CausalUpdate, UpdateCausally<F32>>, kernel<CausalUpdate, UpdateCausally<F64>>},
    {spend_multiply_adds<F32>, spend_multiply_adds<F64>},
    {multiply_add_flop<F32>, multiply_add_flop<F64>},
};

}  // namespace
