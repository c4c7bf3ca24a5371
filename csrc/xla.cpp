#include "xla.hpp"

#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "cuda/launch.hpp"
#include "engine.hpp"
#include "system/system.hpp"

namespace ffi = xla::ffi;

namespace depthwise {
namespace {

// XLA's own threads, so that no second pool contends for the cores, and so that all have the same floating-point
// control word. Helpers that come too late find nothing left to do, which may be after the call: they own what they
// look at.
class XlaExecutor final : public Executor {
 public:
  explicit XlaExecutor(ffi::ThreadPool& threads) : threads_(threads) {}

  bool run(int ranges, int helpers, Call call, const void* job) override {
    const auto shared = std::make_shared<Shared>(ranges, call, job);
    for (int i = 0; i < helpers; ++i) threads_.Schedule([shared] { shared->work(); });
    shared->work();
    shared->wait();
    return true;
  }

 private:
  class Shared {
   public:
    Shared(int ranges, Call call, const void* job) : open_(ranges), unfinished_(ranges), call_(call), job_(job) {}
    void work() {
      for (int range; (range = open_.fetch_sub(1, std::memory_order_relaxed) - 1) >= 0;) {
        call_(job_, range);
        if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
      }
    }
    void wait() {
      for (int left; (left = unfinished_.load(std::memory_order_acquire));) unfinished_.wait(left);
    }

   private:
    std::atomic<int> open_, unfinished_;
    const Call call_;
    const void* const job_;
  };

  ffi::ThreadPool& threads_;
};

std::optional<DType> dtype_of(ffi::DataType t) {
  switch (t) {
    case ffi::DataType::F16:
      return DType::f16;
    case ffi::DataType::BF16:
      return DType::bf16;
    case ffi::DataType::F32:
      return DType::f32;
    case ffi::DataType::F64:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

// A dense array of three to five axes, whose order in memory is that of its own or has the channels last.
struct Dense {
  int spatial;  // axes that it has
  int64_t sizes[array_axes] = {1, 1, 1, 1, 1};
  Array array{};
};

std::optional<Dense> dense(const ffi::AnyBuffer& a, bool channels_last) {
  const auto dtype = dtype_of(a.element_type());
  const auto dimensions = a.dimensions();
  const int count = static_cast<int>(dimensions.size());
  if (!dtype || count < 3 || count > array_axes) return std::nullopt;
  Dense out{.spatial = count - 2};
  out.array.data = a.untyped_data();
  out.array.dtype = *dtype;
  const int channel = channels_last ? count - 1 : 1, last_spatial = channels_last ? count - 2 : count - 1;
  int64_t stride = 1;
  for (int i = count - 1; i >= 0; --i) {
    const int axis = i == 0 ? 0 : i == channel ? 1 : width_axis - (last_spatial - i);
    const int64_t size = dimensions[static_cast<size_t>(i)];
    out.sizes[axis] = size;
    out.array.strides[axis] = stride;
    stride *= size;
  }
  return out;
}

// XLA's arrays are fresh pages of 4 KiB, and the first touch of each takes longer than the layer. NumPy asks for huge
// ones for its own large arrays; these are XLA's, whose later use of the memory is unknown, so only who says so has it.
void touch_by_huge_pages(const ffi::AnyBuffer& a) {
  static const bool wanted = [] {
    const char* const said = std::getenv("DEPTHWISE_JAX_HUGE_PAGES");
    return said && std::strcmp(said, "1") == 0;
  }();
  if (!wanted) return;
  constexpr uintptr_t page = 4096;
  const size_t bytes = a.size_bytes();
  if (bytes < size_t{4} << 20) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(a.untyped_data()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(a.untyped_data()) + bytes) / page * page;
  if (begin < end) want_huge_pages(reinterpret_cast<void*>(begin), static_cast<int64_t>(end - begin));
}

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("depthwise: ") + what); }

// Operands and result of a pass: (x, W) or (x, W, b) -> y, (gy, W) -> gx, (x, gy) -> gW. Pads are those before the
// image; those behind it follow from the sizes.
ffi::Error read_call(Problem& problem, ffi::AnyBuffer first, ffi::AnyBuffer second, ffi::RemainingArgs more,
                     ffi::Result<ffi::AnyBuffer> result, int64_t pass, bool channels_last, int64_t activation,
                     int64_t method, int64_t pad_mode, ffi::Span<const int64_t> stride, ffi::Span<const int64_t> pad,
                     ffi::Span<const int64_t> dilate) {
  if (pass < 0 || pass > static_cast<int64_t>(Pass::weight_grad)) return wrong("unknown pass");
  const auto kind = static_cast<Pass>(pass);
  if (activation < 0 || activation > static_cast<int64_t>(Activation::gelu_tanh)) return wrong("unknown activation");
  if (activation && kind != Pass::forward) return wrong("only a forward pass has an activation");
  if (method < 0 || method > static_cast<int64_t>(Method::cheaper)) return wrong("unknown method");
  if (pad_mode < 0 || pad_mode > static_cast<int64_t>(Border::wrap)) return wrong("unknown padding");

  const auto x = dense(kind == Pass::input_grad ? *result : first, channels_last);
  const auto W = dense(kind == Pass::weight_grad ? *result : second, false);
  const auto y = dense(kind == Pass::forward ? *result : kind == Pass::input_grad ? first : second, channels_last);
  if (!x || !W || !y) return wrong("operands must be floats of three to five axes");
  const int spatial = x->spatial;
  if (W->spatial != spatial || y->spatial != spatial) return wrong("operands differ in their number of axes");
  const int64_t multiplier = W->sizes[0], channels = W->sizes[1], outs = channels * multiplier;
  if (x->sizes[1] != channels || y->sizes[1] != outs || x->sizes[0] != y->sizes[0])
    return wrong("sizes of the operands do not fit each other");

  for (const auto& steps : {stride, pad, dilate})
    if (steps.size() != static_cast<size_t>(spatial)) return wrong("not one step for each spatial axis");
  Axis axes[3] = {no_axis, no_axis, no_axis};
  for (int axis = 3 - spatial; axis < 3; ++axis) {
    const auto i = static_cast<size_t>(axis - (3 - spatial));
    if (stride[i] < 1 || pad[i] < 0 || dilate[i] < 1) return wrong("steps out of range");
    const int place = depth_axis + axis;
    const int64_t kernel = W->sizes[place], out = y->sizes[place];
    // A single output never takes a step and a single tap is never spread: nothing then hangs on huge numbers.
    axes[axis] = {x->sizes[place], kernel, out > 1 ? stride[i] : 1, pad[i], kernel > 1 ? dilate[i] : 1, out};
  }

  Array b{};
  if (more.size() > 1 || (more.size() == 1 && kind != Pass::forward)) return wrong("too many operands");
  if (more.size() == 1) {
    const auto bias = more.get<ffi::AnyBuffer>(0);
    if (bias.has_error()) return bias.error();
    const auto dtype = dtype_of(bias->element_type());
    if (!dtype || bias->dimensions().size() != 1 || bias->dimensions()[0] != outs)
      return wrong("the bias does not fit");
    b = {bias->untyped_data(), *dtype, {1}};
  }

  problem = {.pass = kind,
             .batch = x->sizes[0],
             .channels = channels,
             .multiplier = multiplier,
             .d = axes[0],
             .h = axes[1],
             .w = axes[2],
             .x = x->array,
             .W = W->array,
             .b = b,
             .y = y->array,
             .activation = static_cast<Activation>(activation),
             .method = static_cast<Method>(method),
             .border = static_cast<Border>(pad_mode)};
  return ffi::Error::Success();
}

template <class... Rest>
ffi::Error run(ffi::ThreadPool threads, ffi::AnyBuffer first, ffi::AnyBuffer second, ffi::RemainingArgs more,
               ffi::Result<ffi::AnyBuffer> result, Rest... rest) {
  Problem problem;
  if (auto error = read_call(problem, first, second, more, result, rest...); error.failure()) return error;
  const Target& target = targets[active_target.load(std::memory_order_relaxed)];
  touch_by_huge_pages(*result);
  try {
    XlaExecutor executor(threads);
    solve(problem, target, static_cast<int>(std::clamp<int64_t>(threads.num_threads(), 1, 4096)), executor);
  } catch (const std::invalid_argument& refusal) {
    return wrong(refusal.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "depthwise: no memory for a thread's scratch");
  }
  return ffi::Error::Success();
}

template <class... Rest>
ffi::Error run_on_gpu(cuda::Stream stream, int32_t device, ffi::ScratchAllocator scratch, ffi::AnyBuffer first,
                      ffi::AnyBuffer second, ffi::RemainingArgs more, ffi::Result<ffi::AnyBuffer> result,
                      Rest... rest) {
  Problem problem;
  if (auto error = read_call(problem, first, second, more, result, rest...); error.failure()) return error;
  try {
    const int64_t bytes = cuda::workspace_bytes(problem, device);
    const std::optional<void*> workspace = bytes ? scratch.Allocate(static_cast<size_t>(bytes), 256) : nullptr;
    if (!workspace) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "depthwise: no memory for partial sums");
    cuda::launch(problem, device, stream, *workspace);
  } catch (const std::invalid_argument& refusal) {
    return wrong(refusal.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "depthwise: no memory for a plan");
  } catch (const std::exception& failure) {
    return ffi::Error(ffi::ErrorCode::kInternal, std::string("depthwise: ") + failure.what());
  }
  return ffi::Error::Success();
}

// Both handlers take the same operands and attributes, whatever they are told beside them.
template <class Binding>
auto with_operands(Binding binding) {
  return std::move(binding)
      .template Arg<ffi::AnyBuffer>()
      .template Arg<ffi::AnyBuffer>()
      .RemainingArgs()
      .template Ret<ffi::AnyBuffer>()
      .template Attr<int64_t>("kind")
      .template Attr<bool>("channels_last")
      .template Attr<int64_t>("activation")
      .template Attr<int64_t>("method")
      .template Attr<int64_t>("pad_mode")
      .template Attr<ffi::Span<const int64_t>>("stride")
      .template Attr<ffi::Span<const int64_t>>("pad")
      .template Attr<ffi::Span<const int64_t>>("dilate");
}

using Steps = ffi::Span<const int64_t>;

XLA_FFI_DEFINE_HANDLER(handler, (run<int64_t, bool, int64_t, int64_t, int64_t, Steps, Steps, Steps>),
                       with_operands(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()));
XLA_FFI_DEFINE_HANDLER(gpu_handler, (run_on_gpu<int64_t, bool, int64_t, int64_t, int64_t, Steps, Steps, Steps>),
                       with_operands(ffi::Ffi::Bind()
                                         .Ctx<ffi::PlatformStream<cuda::Stream>>()
                                         .Ctx<ffi::DeviceOrdinal>()
                                         .Ctx<ffi::ScratchAllocator>()));

}  // namespace

void* xla_handler() { return reinterpret_cast<void*>(handler); }
void* xla_gpu_handler() { return reinterpret_cast<void*>(gpu_handler); }

}  // namespace depthwise
