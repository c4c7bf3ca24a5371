// CUDA's driver and its run-time compiler, opened when the first GPU array comes: nothing is linked, and a machine
// without them needs neither.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

namespace depthwise::cuda {

// What went wrong on the way to a GPU, and what to install or to change.
class GpuError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Function = void*;
using Stream = void*;

// Where to look for NVRTC before the loader's own places.
void look_for_nvrtc(std::vector<std::string> paths);

// A version such as 13000 for 13.0; throws GpuError where it cannot be had.
int driver_version();
int nvrtc_version();

struct Device {
  int multiprocessors, architecture;  // 90 for compute capability 9.0
};
Device device_facts(int device);

// Makes a device's primary context the current one, until it goes out of scope.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  bool pushed_ = false;
};

// Machine code for an architecture. `log`, where it is wanted, is what the compiler says of registers and spills.
std::string compile(const std::string& source, const std::string& options, int architecture,
                    std::string* log = nullptr);
// All of these for the current device.
Function load(const std::string& code, const std::string& entry);
void launch(Function, unsigned blocks, unsigned threads, void* parameters, Stream);

}  // namespace depthwise::cuda
