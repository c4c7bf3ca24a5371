#include "bindings.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "../python_arguments.hpp"
#include "driver.hpp"
#include "kernel_cache.hpp"
#include "launch.hpp"
#include "plan.hpp"
#include "sources.hpp"

namespace depthwise::cuda {

namespace {

// A step as a test runs it on a CPU: source, entry, options, blocks, threads, and the parameters' bytes.
using Described = std::tuple<std::string, std::string, std::string, unsigned, unsigned, nb::bytes>;

Described described(const Step& step, const Problem& p, void* workspace) {
  const Parameters parameters = addressed(step, p, workspace);
  const nb::bytes bytes = std::visit(
      [](const auto& each) { return nb::bytes(reinterpret_cast<const char*>(&each), sizeof each); }, parameters);
  return {step.kernel.source, step.kernel.entry, step.kernel.options, step.blocks, step.threads, bytes};
}

}  // namespace

void bind(nb::module_& m) {
  nb::exception<GpuError>(m, "GpuError", PyExc_RuntimeError);
  m.def("gpu_look_for_nvrtc", look_for_nvrtc);
  m.def("gpu_driver_version", driver_version);
  m.def("gpu_nvrtc_version", nvrtc_version);
  m.def("gpu_launches", launches);
  m.def("gpu_cache_folder", cache_folder);
  m.def("gpu_sources", [] {
    std::vector<std::pair<std::string, std::string>> all;
    for (const Source& s : sources()) all.emplace_back(s.name, s.text);
    return all;
  });
  // Arrays are (address, strides, dtype). `allocate` gives the address of so many bytes of the GPU's memory, which stay
  // as they are until the stream has done what is started here.
  m.def("gpu_run", [](int pass, const Sizes& s, const Place& x, const Place& W, const Place& b, const Place& y,
                      int activation, int device, uintptr_t stream, nb::handle allocate) {
    const Problem p = problem(pass, s, as_array(x), as_array(W), as_array(b), as_array(y), activation);
    int64_t bytes = 0;
    {
      nb::gil_scoped_release released;
      bytes = workspace_bytes(p, device);
    }
    const uintptr_t workspace = bytes ? nb::cast<uintptr_t>(allocate(bytes)) : 0;
    nb::gil_scoped_release released;
    launch(p, device, reinterpret_cast<Stream>(stream), reinterpret_cast<void*>(workspace));
  });
  // What gpu_run would start on a GPU of so many multiprocessors, and the bytes of the workspace.
  m.def("gpu_steps", [](int pass, const Sizes& s, const Place& x, const Place& W, const Place& b, const Place& y,
                        int activation, int multiprocessors, uintptr_t workspace) {
    const Problem p = problem(pass, s, as_array(x), as_array(W), as_array(b), as_array(y), activation);
    const GpuPlan plan = make_plan(p, multiprocessors);
    std::vector<Described> steps;
    for (const Step& step : plan.steps) steps.push_back(described(step, p, reinterpret_cast<void*>(workspace)));
    return nb::make_tuple(plan.workspace, steps);
  });
  // Puts a kernel into the cache on disk; needs NVRTC and no GPU.
  m.def("gpu_keep", [](const std::string& source, const std::string& options, int architecture) {
    nb::gil_scoped_release released;
    machine_code({source, "", options}, architecture);
  });
  // Machine code and what the compiler says of it; needs NVRTC and no GPU.
  m.def("gpu_compile", [](const std::string& source, const std::string& options, int architecture) {
    std::string log;
    const std::string code = compile(source, options, architecture, &log);
    return nb::make_tuple(nb::bytes(code.data(), code.size()), log);
  });
}

}  // namespace depthwise::cuda
