// The kernels' source text, as it is in csrc/cuda: CMake writes it into the module (sources.cpp.in).
#pragma once
#include <span>

namespace depthwise::cuda {

struct Source {
  const char *name, *text;
};

std::span<const Source> sources();

}  // namespace depthwise::cuda
