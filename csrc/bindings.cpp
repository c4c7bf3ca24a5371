// Python's arrays to Problems. No arithmetic, no policy; the GIL is released around the work.
#include "cuda/bindings.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "activation_grad.hpp"
#include "blocks.hpp"
#include "borders.hpp"
#include "buffer.hpp"
#include "causal_update.hpp"
#include "cpu.hpp"
#include "engine.hpp"
#include "machine.hpp"
#include "openmp.hpp"
#include "parallel.hpp"
#include "plan/numbers.hpp"
#include "plan/spectral.hpp"
#include "pool.hpp"
#include "python_arguments.hpp"
#include "roofline.hpp"
#include "system/system.hpp"
#include "xla.hpp"

namespace nb = nanobind;
using namespace depthwise;

namespace {

// An array without memory, dense in planar or in channels-last layout.
Array dense(DType dtype, int64_t channels, const int64_t (&size)[3], bool channels_last) {
  Array a{.data = nullptr, .dtype = dtype, .strides = {}};
  int64_t elements = channels_last ? channels : 1;
  for (int i = 2; i >= 0; --i) {
    a.strides[depth_axis + i] = elements;
    elements *= size[i];
  }
  a.strides[1] = channels_last ? 1 : elements;
  a.strides[0] = channels_last ? elements : elements * channels;
  return a;
}

// Shape of an array of a call.
class Shape {
 public:
  Shape(int64_t first, int64_t second, const Sizes& s, int64_t Axis::* size) : count_(2 + s.spatial) {
    sizes_[0] = first;
    sizes_[1] = second;
    for (int i = 0; i < s.spatial; ++i) sizes_[2 + i] = s.first()[i].*size;
  }
  operator std::span<const int64_t>() const { return {sizes_, static_cast<size_t>(count_)}; }

 private:
  int count_;
  int64_t sizes_[array_axes];
};

Held hold(nb::handle a, int dtype) { return Held(a.ptr(), dtype_at(dtype)); }

// An array whose axes are the first of Array's.
Array as_leading(const Place& place) {
  const auto& [address, strides, dtype] = place;
  if (strides.size() > array_axes) throw nb::value_error("an array has at most five axes");
  Array out{reinterpret_cast<void*>(address), dtype_at(dtype), {}};
  std::copy(strides.begin(), strides.end(), out.strides);
  return out;
}

using IntegersAt = std::tuple<uintptr_t, int64_t, int64_t>;

Integers as_integers(const IntegersAt& place) {
  const auto& [address, stride, bytes] = place;
  return {reinterpret_cast<const void*>(address), stride, bytes};
}

const Target& target_at(int index) {
  if (index < 0 || index >= target_count || !targets[index].supported())
    throw nb::value_error("this target cannot run on this CPU");
  return targets[index];
}

// The gradient of an activation for arrays of this shape.
template <class Size>
void run_activation_grad(int activation, std::span<const Size> shape, const Array& z, const Array& gy, const Array& gz,
                         int target, int threads, Executor& executor) {
  const int count = static_cast<int>(shape.size());
  if (count > array_axes) throw nb::value_error("an array has at most five axes");
  int64_t sizes[array_axes] = {1, 1, 1, 1, 1};
  for (int i = 0; i < count; ++i) sizes[place_of_axis(i, count)] = shape[static_cast<size_t>(i)];
  const Activation kind = activation_at(activation);
  const Target& t = target_at(target);
  nb::gil_scoped_release released;
  activation_grad(kind, sizes, z, gy, gz, t, threads, executor);
}

// tracemalloc's interface, looked up where the module runs: the stable ABI does not have it, though every CPython does.
struct Tracemalloc {
  int (*track)(unsigned domain, uintptr_t at, size_t bytes);
  int (*untrack)(unsigned domain, uintptr_t at);

  Tracemalloc() {
    track = reinterpret_cast<decltype(track)>(function_of_process("PyTraceMalloc_Track"));
    untrack = reinterpret_cast<decltype(untrack)>(function_of_process("PyTraceMalloc_Untrack"));
  }
};

const Tracemalloc& tracemalloc() {
  static const Tracemalloc it;
  return it;
}

// A block that Python's arrays hold. tracemalloc sees it as it sees NumPy's own memory.
class HeldBlock {
 public:
  explicit HeldBlock(int64_t bytes) : block_(bytes), bytes_(bytes) {
    if (tracemalloc().track) tracemalloc().track(domain, address(), static_cast<size_t>(bytes));
  }
  ~HeldBlock() {
    if (tracemalloc().untrack) tracemalloc().untrack(domain, address());
  }
  HeldBlock(const HeldBlock&) = delete;
  HeldBlock& operator=(const HeldBlock&) = delete;

  static int get_buffer(PyObject* self, Py_buffer* view, int flags) {
    const HeldBlock& it = *nb::inst_ptr<HeldBlock>(self);
    return PyBuffer_FillInfo(view, self, it.block_.data(), static_cast<Py_ssize_t>(it.bytes_), 0, flags);
  }

 private:
  static constexpr unsigned domain = 0x64772d63;  // any number that no one else has
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(block_.data()); }

  Block block_;
  int64_t bytes_;
};

// Whether a value is an int, a word or a tuple of such, and of no other class, so that equal ones mean the same.
bool is_plain(PyObject* value, int depth) {
  if (PyLong_CheckExact(value) || PyUnicode_CheckExact(value)) return true;
  if (!PyTuple_CheckExact(value) || depth < 1) return false;
  for (Py_ssize_t i = 0; i < PyTuple_Size(value); ++i)
    if (!is_plain(PyTuple_GetItem(value, i), depth - 1)) return false;
  return true;
}

// What a problem of these sizes is a part of.
std::optional<Problem> whole_of(const Problem& part, const Sizes& s) {
  if (!s.whole) return std::nullopt;
  Problem p = part;
  const Sizes& all = *s.whole;
  p.batch = all.batch;
  p.channels = all.channels;
  p.d = all.axes[0];
  p.h = all.axes[1];
  p.w = all.axes[2];
  const int64_t outs = p.channels * p.multiplier;
  const int64_t x_size[3] = {p.d.size, p.h.size, p.w.size}, y_size[3] = {p.d.out, p.h.out, p.w.out};
  p.x = dense(part.x.dtype, p.channels, x_size, s.channels_last);
  p.y = dense(part.y.dtype, outs, y_size, s.channels_last);
  // What is written lies as what is read does, which is planar where there is but one channel.
  const bool gradient = p.pass == Pass::input_grad;
  const int64_t (&size)[3] = gradient ? y_size : x_size;
  const int64_t sizes[array_axes] = {p.batch, gradient ? outs : p.channels, size[0], size[1], size[2]};
  const bool closest = channels_are_closest((gradient ? p.y : p.x).strides, sizes);
  if (gradient)
    p.x = dense(part.x.dtype, p.channels, x_size, closest);
  else
    p.y = dense(part.y.dtype, outs, y_size, closest);
  return p;
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The compiled engine of depthwise; its callers check their arguments first.";
  // Caches of Sizes, kept alive by a framework's registries, outlive the interpreter: no leak that grows.
  nb::set_leak_warnings(false);
  m.attr("version") = DEPTHWISE_VERSION;
#if defined(__clang__)
  m.attr("build") = "Clang " __clang_version__;
#else
  m.attr("build") = "GCC " __VERSION__;
#endif
  // Plain numbers: they go into every call.
  nb::dict passes, dtypes;
  passes["forward"] = static_cast<int>(Pass::forward);
  passes["input_grad"] = static_cast<int>(Pass::input_grad);
  passes["weight_grad"] = static_cast<int>(Pass::weight_grad);
  dtypes["float16"] = static_cast<int>(DType::f16);
  dtypes["bfloat16"] = static_cast<int>(DType::bf16);
  dtypes["float32"] = static_cast<int>(DType::f32);
  dtypes["float64"] = static_cast<int>(DType::f64);
  nb::dict activations;
  const char* const names[] = {"none", "silu", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"};
  for (int i = 0; i <= static_cast<int>(Activation::gelu_tanh); ++i) activations[names[i]] = i;
  m.attr("activations") = activations;
  nb::dict methods;
  methods["direct"] = static_cast<int>(Method::direct);
  methods["fft"] = static_cast<int>(Method::fft);
  methods["auto"] = static_cast<int>(Method::cheaper);
  m.attr("methods") = methods;
  nb::dict pad_modes;
  pad_modes["constant"] = static_cast<int>(Border::constant);
  pad_modes["reflect"] = static_cast<int>(Border::reflect);
  pad_modes["symmetric"] = static_cast<int>(Border::symmetric);
  pad_modes["edge"] = static_cast<int>(Border::edge);
  pad_modes["wrap"] = static_cast<int>(Border::wrap);
  m.attr("pad_modes") = pad_modes;
  m.attr("passes") = passes;
  m.attr("dtypes") = dtypes;

  nb::class_<Sizes>(m, "Sizes")
      .def(
          "__init__",
          [](Sizes* self, int64_t batch, int64_t channels, int64_t multiplier,
             const std::vector<std::array<int64_t, 6>>& axes, int method, int pad_mode, const Sizes* whole,
             bool channels_last) {
            if (axes.empty() || axes.size() > 3) throw nb::value_error("there are one to three axes");
            const int spatial = static_cast<int>(axes.size());
            if (whole && (whole->spatial != spatial || whole->multiplier != multiplier))
              throw nb::value_error("a part has the axes and the multiplier of its whole");
            new (self) Sizes{batch,
                             channels,
                             multiplier,
                             spatial,
                             {no_axis, no_axis, no_axis},
                             method_at(method),
                             border_at(pad_mode),
                             whole ? std::make_shared<const Sizes>(*whole) : nullptr,
                             channels_last};
            for (int i = 0; i < spatial; ++i) {
              const auto& a = axes[static_cast<size_t>(i)];
              self->axes[3 - spatial + i] = {a[0], a[1], a[2], a[3], a[4], a[5]};
            }
          },
          nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none() = nb::none(),
          nb::arg() = false);

  m.def("is_plain",
        [](nb::handle value) { return is_plain(value.ptr(), 3); });  // several values of pairs for each axis

  // A copy, or what a pickle holds, has kept nothing yet.
  nb::class_<SpectraKeeper>(m, "SpectraKeeper")
      .def(nb::init<>())
      .def("bytes", [](SpectraKeeper& self) { return self.of_all()->bytes(); })
      .def("__reduce__", [](nb::handle self) { return nb::make_tuple(self.type(), nb::tuple()); });

  nb::exception<Refused>(m, "Refused", PyExc_ValueError);
  m.def("fits", [](nb::handle a, int dtype) { return !hold(a, dtype).refusal(); });

  // Throws Refused where an array has to be copied first.
  m.def(
      "run",
      [](int pass, const Sizes& s, nb::handle x, int x_dtype, nb::handle W, int W_dtype, nb::handle b, int b_dtype,
         nb::handle y, int y_dtype, int target, int threads, int activation, SpectraKeeper* keeper) {
        const Held held[4] = {hold(x, x_dtype), hold(W, W_dtype), hold(b, b_dtype), hold(y, y_dtype)};
        for (int i = 0; i < 4; ++i)
          if (const char* why = held[i].refusal()) throw Refused(std::string("xWby").substr(i, 1) + " " + why);
        // Another thread may have changed what the caller has checked.
        const int64_t outs = s.channels * s.multiplier;
        if (!held[0].has_shape(Shape(s.batch, s.channels, s, &Axis::size)) ||
            !held[1].has_shape(Shape(s.multiplier, s.channels, s, &Axis::kernel)) ||
            !held[2].has_shape(std::span(&outs, 1)) || !held[3].has_shape(Shape(s.batch, outs, s, &Axis::out)))
          throw nb::value_error("an array has changed its shape during the call");
        Problem p = problem(pass, s, held[0].array(), held[1].array(), held[2].array(), held[3].array(), activation);
        const std::optional<Problem> whole = whole_of(p, s);
        p.whole = whole ? &*whole : nullptr;
        const Target& kernels = target_at(target);
        nb::gil_scoped_release released;
        const auto kept = keeper ? keeper->of_all() : nullptr;
        solve(p, kernels, threads, pool(), kept.get());
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());

  // gz = gy * activation'(z) for arrays of one shape. Throws Refused where one has to be copied first.
  m.def("activation_grad", [](int activation, nb::handle z, int z_dtype, nb::handle gy, int gy_dtype, nb::handle gz,
                              int gz_dtype, int target, int threads) {
    const Held held[3] = {hold(z, z_dtype), hold(gy, gy_dtype), hold(gz, gz_dtype)};
    const char* const names[] = {"z", "gy", "gz"};
    for (int i = 0; i < 3; ++i)
      if (const char* why = held[i].refusal()) throw Refused(std::string(names[i]) + " " + why);
    if (!held[1].has_shape(held[0].shape()) || !held[2].has_shape(held[0].shape()))
      throw nb::value_error("the arrays are not of one shape");
    run_activation_grad(activation, held[0].shape(), held[0].array(), held[1].array(), held[2].array(), target, threads,
                        pool());
  });

  // `run` on PyTorch's tensors, which the caller keeps alive, without the toll of an exchange protocol.
  // Each array is (address, strides in elements, dtype); an address of 0 is no bias. Where spectra are kept W is dense.
  m.def(
      "run_at",
      [](int pass, const Sizes& s, const Place& x, const Place& W, const Place& b, const Place& y, int target,
         int threads, int activation, SpectraKeeper* keeper) {
        const Problem p = problem(pass, s, as_array(x), as_array(W), as_array(b), as_array(y), activation);
        const Target& kernels = target_at(target);
        nb::gil_scoped_release released;
        const int64_t weights = p.channels * p.multiplier * p.d.kernel * p.h.kernel * p.w.kernel;
        const auto kept = keeper ? keeper->of(p.W.data, static_cast<size_t>(weights * item_bytes(p.W.dtype))) : nullptr;
        solve(p, kernels, threads, openmp_executor(), kept.get());
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());

  // A decode step on PyTorch's tensors. `sizes` are those of CausalUpdateProblem, strides begin with the batch's (W's
  // with the channels'), integers are (address, stride, bytes). False, and nothing done, where another array may share
  // memory with the state, and has to be copied first.
  m.def("causal_update_at",
        [](const std::array<int64_t, 6>& sizes, const Place& x, const Place& state, const Place& W, const Place& b,
           const Place& y, const IntegersAt& starts, const IntegersAt& rows, int target, int threads, int activation) {
          const auto& [batch, channels, length, width, states, state_length] = sizes;
          const CausalUpdateProblem p{.batch = batch,
                                      .channels = channels,
                                      .length = length,
                                      .width = width,
                                      .states = states,
                                      .state_length = state_length,
                                      .x = as_leading(x),
                                      .state = as_leading(state),
                                      .W = as_leading(W),
                                      .b = as_leading(b),
                                      .y = as_leading(y),
                                      .starts = as_integers(starts),
                                      .rows = as_integers(rows),
                                      .activation = activation_at(activation)};
          const Target& t = target_at(target);
          nb::gil_scoped_release released;
          return update_causally(p, t, threads, openmp_executor());
        });

  PyType_Slot block_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(HeldBlock::get_buffer)}, {0, nullptr}};
  nb::class_<HeldBlock>(m, "Block", nb::type_slots(block_slots)).def(nb::init<int64_t>());
  m.def("cache_limit", cache_limit);
  m.def("set_cache_limit", set_cache_limit);
  m.def("empty_cache", empty_cache);
  // Of the blocks that are kept: their number, their bytes, and those that the system may claim.
  m.def("kept_memory", [] {
    const Kept kept = kept_memory();
    return std::make_tuple(kept.blocks, kept.bytes, kept.claimable);
  });

  m.def("describe", [](int pass, const Sizes& s, const std::vector<int64_t>& x, int x_dtype, int W_dtype,
                       const std::vector<int64_t>& y, int y_dtype, int target, int threads) {
    const int64_t width = s.axes[2].kernel, plane = s.axes[1].kernel * width, taps = s.axes[0].kernel * plane;
    const Array W{nullptr, dtype_at(W_dtype), {s.channels * taps, taps, plane, width, 1}};
    const Problem p = problem(pass, s, strided(nullptr, x, x_dtype), W, {}, strided(nullptr, y, y_dtype), 0);
    const Target& t = target_at(target);
    const Plan plan(largest_part(p), t, threads);
    const SpectralPlan spectral(of_taps_met(largest_inside(p)), t, threads);
    if (const std::string why = refusal(spectral); !why.empty()) throw nb::value_error(why.c_str());
    const Problem padded = on_padded_image(p);
    const Facts all(padded, plan.facts.k);
    auto ways = describe_candidates(plan);
    ways.push_back(describe_way(spectral));
    const bool taken = is_taken(spectral);
    return nb::make_tuple(taken ? describe(spectral) : describe(plan), ways, taken ? spectral.threads : plan.threads,
                          2 * all.products, all.bytes);
  });

  m.def("channels_last", [](const std::vector<int64_t>& strides, const std::vector<int64_t>& shape) {
    if (strides.size() != shape.size() || shape.size() < 3 || shape.size() > array_axes) return false;
    int64_t sizes[array_axes] = {1, 1, 1, 1, 1};
    const int count = static_cast<int>(shape.size());
    for (int i = 0; i < count; ++i) sizes[place_of_axis(i, count)] = shape[static_cast<size_t>(i)];
    return channels_are_closest(strided(nullptr, strides, static_cast<int>(DType::f32)).strides, sizes);
  });

  m.def("targets", [] {
    std::vector<std::pair<std::string, bool>> names;
    for (int i = 0; i < target_count; ++i) names.emplace_back(targets[i].name, targets[i].supported());
    return names;
  });
  m.def("set_target", [](int target) {
    target_at(target);
    active_target = target;
  });
  m.def("lanes", [](int target) {
    const Kernels& k = *target_at(target).kernels;
    return std::make_pair(k.lanes[0], k.lanes[1]);
  });
  m.def("executions", [](int target) {
    target_at(target);
    return executions(target);
  });
  m.def("multiply_add_rate", [](int target, bool float64, int threads) {
    const Target& t = target_at(target);
    nb::gil_scoped_release released;
    return multiply_add_rate(t, float64, threads);
  });
  m.def("copy_rate", copy_rate, nb::call_guard<nb::gil_scoped_release>());
  m.def("default_threads", default_threads);
  m.def("cpus_of_quota", [](const std::string& text) { return cpus_of_quota(text.c_str()); });
  // Sizes of the first, the second and the last cache. Throws where DEPTHWISE_CACHES is malformed.
  m.def("caches", [] {
    const Machine& machine = this_machine();
    return std::make_tuple(machine.first_cache, machine.second_cache, machine.last_cache);
  });
  m.def("parse_caches", [](const std::string& text) {
    const Machine machine = parse_caches(text);
    return std::make_tuple(machine.first_cache, machine.second_cache, machine.last_cache);
  });
  // The plan's numbers, for benchmarks/tune.py: name, whether bits hang on it, value.
  m.def("numbers", [] {
    std::vector<std::tuple<std::string, bool, double>> all;
    for (const NamedNumber& n : all_numbers()) all.emplace_back(n.name, n.fixed, n.value);
    return all;
  });
  m.def("set_number", [](const std::string& name, double value) {
    if (!set_number(name.c_str(), value)) throw nb::value_error("no such number");
  });
  m.def("has_openmp", has_openmp);
  m.def("find_openmp", [](const std::string& library) { return find_openmp(library.c_str()); });
  cuda::bind(m);
#ifdef DEPTHWISE_JAX
  m.def("xla_handler", [] { return nb::capsule(xla_handler()); });
  m.def("xla_gpu_handler", [] { return nb::capsule(xla_gpu_handler()); });
#endif
}
