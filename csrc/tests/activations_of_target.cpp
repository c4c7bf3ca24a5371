// Built once for each target, with its flags and no others.
#include DEPTHWISE_VECTORS
// The order matters: the kernels use the names that the vector header defines.
#include "../kernels/activation_grad.hpp"
#include "activations.hpp"

namespace {

template <class S>
constexpr depthwise::Activations calls = {
    S::N,
    [](depthwise::Activation kind, void* values, int64_t count) {
      activate_span<S>(kind, static_cast<typename S::E*>(values), count);
    },
    [](depthwise::Activation kind, void* values) {
      auto* const at = static_cast<typename S::E*>(values);
      S::store(at, activate<S>(kind, S::load(at)));
    },
    {[](const ActivationGradient& job) { return ActivationGrad<S>(job, nullptr).scratch_bytes(); },
     [](const ActivationGradient& job, int64_t begin, int64_t end, void* scratch) {
       ActivationGrad<S>(job, scratch).run(begin, end);
     }}};

}  // namespace

namespace depthwise {
extern const Activations DEPTHWISE_ACTIVATIONS[2];
const Activations DEPTHWISE_ACTIVATIONS[2] = {calls<F32>, calls<F64>};
}  // namespace depthwise
