// The GPU's part of the module.
#pragma once
#include <nanobind/nanobind.h>

namespace depthwise::cuda {

void bind(nanobind::module_&);

}  // namespace depthwise::cuda
