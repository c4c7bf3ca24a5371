#include "plan.hpp"

#include <algorithm>
#include <stdexcept>

#include "passes.hpp"
#include "tile.hpp"

namespace depthwise::cuda {

namespace {

void check_sizes(const Problem& p) {
  if (p.d.kernel * p.h.kernel * p.w.kernel == 0)
    throw std::invalid_argument("a kernel without taps is none that a GPU takes");
  for (const Axis* a : {&p.d, &p.h, &p.w})
    for (const int64_t size : {a->size + a->pad + a->dilate * a->kernel, a->out, a->stride, a->pad, a->out * a->stride})
      if (size > most_of_an_axis)
        throw std::invalid_argument("an axis has more than 2**30 elements with its padding, which no GPU kernel takes");
  if (p.channels * p.multiplier > most_of_an_axis || p.batch > most_of_an_axis)
    throw std::invalid_argument("an array has more than 2**30 channels or images, which no GPU kernel takes");
}

void check_method(const Problem& p) {
  if (p.method == Method::fft)
    throw std::invalid_argument("method=\"fft\" is not made for GPU arrays: take \"direct\" or \"auto\"");
}

// An input gradient whose padding holds the image's own elements: that of the padded image, which is then folded.
GpuPlan plan_of_folded(const Problem& p, int multiprocessors) {
  Problem padded = p;
  padded.border = Border::constant;
  const bool planar = is_planar(p.x, p.w, p.channels);
  int64_t elements = p.batch * p.channels;
  FoldParameters fold{};
  Axis* const axes[3] = {&padded.d, &padded.h, &padded.w};
  const Axis* const own[3] = {&p.d, &p.h, &p.w};
  for (int i = 0; i < 3; ++i) {
    // What windows meet, which may end before the padding does, or before the image.
    const int64_t met =
        own[i]->kernel ? (own[i]->out - 1) * own[i]->stride + (own[i]->kernel - 1) * own[i]->dilate + 1 : 0;
    axes[i]->size = std::max(met, own[i]->pad + own[i]->size);
    axes[i]->pad = 0;
    elements *= axes[i]->size;
    fold.size[i] = static_cast<int>(own[i]->size);
    fold.before[i] = static_cast<int>(own[i]->pad);
    fold.padded_size[i] = static_cast<int>(axes[i]->size);
  }
  padded.x.dtype = accumulator(p);
  int64_t stride = planar ? 1 : p.channels;
  for (int i = 2; i >= 0; --i) {
    padded.x.strides[depth_axis + i] = stride;
    stride *= axes[i]->size;
  }
  padded.x.strides[1] = planar ? stride : 1;
  padded.x.strides[0] = planar ? stride * p.channels : stride;

  GpuPlan plan;
  plan.workspace = elements * item_bytes(padded.x.dtype);
  plan.steps = correlation_steps(padded, multiprocessors);
  for (Step& step : plan.steps) step.to_workspace = true;

  const int64_t threads = p.batch * p.channels * p.d.size * p.h.size * p.w.size;
  if (threads > most_threads)
    throw std::invalid_argument("an input gradient with this pad_mode is too large for one launch of a GPU kernel");
  if (threads == 0) return plan;
  fold.gx_strides = strides_of(p.x);
  const int64_t digits[4] = {p.w.size, p.h.size, p.d.size, p.channels};
  for (int i = 0; i < 4; ++i) fold.digit[planar ? i : (i + 1) % 4] = divisor(digits[i]);
  fold.threads = static_cast<unsigned>(threads);
  Options o;
  o.add("SUM", sum_of(p)).add("PLANAR", planar).add("WRITTEN", code(p.x.dtype));
  o.add("BORDER", static_cast<int>(p.border)).add("THREADS", block);
  plan.steps.push_back(
      {{"fold.cuh", "fold", o.text()}, static_cast<unsigned>(ceil_div(threads, block)), block, fold, {}});
  return plan;
}

}  // namespace

GpuPlan make_plan(const Problem& p, int multiprocessors) {
  check_method(p);
  check_sizes(p);
  if (p.pass == Pass::weight_grad) return weight_grad_plan(p, multiprocessors);
  if (p.pass == Pass::input_grad && p.border != Border::constant) return plan_of_folded(p, multiprocessors);
  return {correlation_steps(p, multiprocessors), 0};
}

Parameters addressed(const Step& step, const Problem& p, void* workspace) {
  const auto at = [](const Array& a, int64_t elements) -> void* {
    return static_cast<char*>(a.data) + elements * item_bytes(a.dtype);
  };
  Parameters all = step.parameters;
  if (auto* const correlate = std::get_if<CorrelateParameters>(&all)) {
    void *x = at(p.x, step.first.x), *y = at(p.y, step.first.y);
    if (step.to_workspace) x = static_cast<char*>(workspace) + step.first.x * item_bytes(accumulator(p));
    correlate->read = p.pass == Pass::forward ? x : y;
    correlate->written = p.pass == Pass::forward ? y : x;
    correlate->W = p.W.data;
    correlate->b = p.b.data;
  } else if (auto* const sums = std::get_if<WeightGradParameters>(&all)) {
    sums->x = p.x.data;
    sums->gy = p.y.data;
    sums->gW = p.W.data;
    sums->gb = p.b.data;
    sums->partial = workspace;
  } else {
    auto& fold = std::get<FoldParameters>(all);
    fold.padded = workspace;
    fold.gx = p.x.data;
  }
  return all;
}

}  // namespace depthwise::cuda
