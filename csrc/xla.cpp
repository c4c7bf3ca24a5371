#include "xla.hpp"

#include <sys/mman.h>
#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "engine.hpp"

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

// A dense array of four axes, whose order in memory is that of its own or has the channels last.
struct Dense {
  int64_t batch, channels, h, w;
  Array array;
};

std::optional<Dense> dense(const ffi::AnyBuffer& a, bool channels_last) {
  const auto dtype = dtype_of(a.element_type());
  const auto d = a.dimensions();
  if (!dtype || d.size() != 4) return std::nullopt;
  if (channels_last)
    return Dense{d[0], d[3], d[1], d[2], {a.untyped_data(), *dtype, {d[1] * d[2] * d[3], 1, 0, d[2] * d[3], d[3]}}};
  return Dense{d[0], d[1], d[2], d[3], {a.untyped_data(), *dtype, {d[1] * d[2] * d[3], d[2] * d[3], 0, d[3], 1}}};
}

// XLA's arrays are fresh pages of 4 KiB, and the first touch of each takes longer than the layer. NumPy asks for huge
// ones for its own large arrays; these are XLA's, whose later use of the memory is unknown, so only who says so has it.
void want_huge_pages(const ffi::AnyBuffer& a) {
#ifdef MADV_HUGEPAGE
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
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("depthwise: ") + what); }

// Operands and result of a pass: (x, W) or (x, W, b) -> y, (gy, W) -> gx, (x, gy) -> gW. Pads are those before the
// image; those behind it follow from the sizes.
ffi::Error run(ffi::ThreadPool threads, ffi::AnyBuffer first, ffi::AnyBuffer second, ffi::RemainingArgs more,
               ffi::Result<ffi::AnyBuffer> result, int64_t pass, bool channels_last, ffi::Span<const int64_t> stride,
               ffi::Span<const int64_t> pad, ffi::Span<const int64_t> dilate) {
  if (pass < 0 || pass > static_cast<int64_t>(Pass::weight_grad)) return wrong("unknown pass");
  const auto kind = static_cast<Pass>(pass);
  if (stride.size() != 2 || pad.size() != 2 || dilate.size() != 2) return wrong("steps are not pairs");
  for (size_t i = 0; i < 2; ++i)
    if (stride[i] < 1 || pad[i] < 0 || dilate[i] < 1) return wrong("steps out of range");

  const auto x = dense(kind == Pass::input_grad ? *result : first, channels_last);
  const auto W = dense(kind == Pass::weight_grad ? *result : second, false);
  const auto y = dense(kind == Pass::forward ? *result : kind == Pass::input_grad ? first : second, channels_last);
  if (!x || !W || !y) return wrong("operands must be floats of four axes");
  const int64_t multiplier = W->batch, channels = W->channels;
  if (x->channels != channels || y->channels != channels * multiplier || x->batch != y->batch)
    return wrong("sizes of the operands do not fit each other");

  Array b{};
  if (more.size() > 1 || (more.size() == 1 && kind != Pass::forward)) return wrong("too many operands");
  if (more.size() == 1) {
    const auto bias = more.get<ffi::AnyBuffer>(0);
    if (bias.has_error()) return bias.error();
    const auto dtype = dtype_of(bias->element_type());
    if (!dtype || bias->dimensions().size() != 1 || bias->dimensions()[0] != y->channels)
      return wrong("the bias does not fit");
    b = {bias->untyped_data(), *dtype, {1}};
  }

  // A single output never takes a step and a single tap is never spread: nothing then hangs on huge numbers.
  const auto axis = [&](int i, int64_t size, int64_t kernel, int64_t out) {
    return Axis{size, kernel, out > 1 ? stride[i] : 1, pad[i], kernel > 1 ? dilate[i] : 1, out};
  };
  const Problem problem{
      kind,     x->batch, channels, multiplier, no_axis, axis(0, x->h, W->h, y->h), axis(1, x->w, W->w, y->w),
      x->array, W->array, b,        y->array};
  const Target& target = targets[active_target.load(std::memory_order_relaxed)];
  want_huge_pages(*result);
  try {
    XlaExecutor executor(threads);
    solve(problem, target, static_cast<int>(std::clamp<int64_t>(threads.num_threads(), 1, 4096)), executor);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "depthwise: no memory for a thread's scratch");
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(handler, run,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("kind")
                           .Attr<bool>("channels_last")
                           .Attr<ffi::Span<const int64_t>>("stride")
                           .Attr<ffi::Span<const int64_t>>("pad")
                           .Attr<ffi::Span<const int64_t>>("dilate"));

}  // namespace

void* xla_handler() { return reinterpret_cast<void*>(handler); }

}  // namespace depthwise
