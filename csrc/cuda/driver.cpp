#include "driver.hpp"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "../system/system.hpp"
#include "sources.hpp"

namespace depthwise::cuda {

namespace {

// The driver's interface, as its documentation has it: every call returns 0 or the number of an error.
using Context = void*;
using Module = void*;
enum { out_of_memory = 2, multiprocessor_count = 16, capability_major = 75, capability_minor = 76 };

template <class F>
void find(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(depthwise::function_of(library, name));
  if (!function) throw GpuError(std::string("this version of CUDA's libraries has no function ") + name);
}

struct Driver {
  int (*init)(unsigned);
  int (*version)(int*);
  int (*device_at)(int*, int);
  int (*attribute)(int*, int, int);
  int (*retain)(Context*, int);
  int (*current)(Context*);
  int (*push)(Context);
  int (*pop)(Context*);
  int (*load_module)(Module*, const void*);
  int (*function_of)(Function*, Module, const char*);
  int (*launch)(Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, void**, void**);
  int (*error_text)(int, const char**);

  Driver() {
    void* library = nullptr;
    for (const char* name : {"libcuda.so.1", "nvcuda.dll"})
      if (!library) library = open_library(name);
    if (!library)
      throw GpuError(
          "CUDA's driver (libcuda.so.1, nvcuda.dll) cannot be loaded: install NVIDIA's driver, or take arrays of the "
          "CPU");
    find(library, "cuInit", init);
    find(library, "cuDriverGetVersion", version);
    find(library, "cuDeviceGet", device_at);
    find(library, "cuDeviceGetAttribute", attribute);
    find(library, "cuDevicePrimaryCtxRetain", retain);
    find(library, "cuCtxGetCurrent", current);
    find(library, "cuCtxPushCurrent_v2", push);
    find(library, "cuCtxPopCurrent_v2", pop);
    find(library, "cuModuleLoadData", load_module);
    find(library, "cuModuleGetFunction", function_of);
    find(library, "cuLaunchKernel", launch);
    find(library, "cuGetErrorString", error_text);
    check(init(0), "CUDA's driver finds no GPU that it can use");
  }

  void check(int status, const char* what) const {
    if (status == 0) return;
    const char* text = nullptr;
    error_text(status, &text);
    std::string message =
        std::string(what) + ": " + (text ? text : "unknown error") + " (" + std::to_string(status) + ")";
    if (status == out_of_memory) message += "; free some of the GPU's memory";
    throw GpuError(message);
  }
};

const Driver& driver() {
  static const Driver it;
  return it;
}

using Program = void*;

std::mutex paths_lock;
std::vector<std::string>& nvrtc_paths() {
  static std::vector<std::string> paths;
  return paths;
}

// The driver's version of CUDA, such as 13; a large number where there is no driver, and nothing is to be loaded.
int driver_of_cuda() {
  try {
    return driver_version() / 1000;
  } catch (const GpuError&) {
    return 1000;
  }
}

// NVRTC opens a second library by its name alone, and finds it where it has been opened before.
void load_builtins(const std::string& nvrtc_path) {
  const std::filesystem::path folder = std::filesystem::path(nvrtc_path).parent_path();
  std::error_code failed;
  const std::filesystem::directory_iterator end;
  for (std::filesystem::directory_iterator entry(folder, failed); !failed && entry != end; entry.increment(failed)) {
    const std::filesystem::path& path = entry->path();
    if (path.filename().string().starts_with("libnvrtc-builtins.so")) open_library(path.string());
  }
}

struct Nvrtc {
  int (*version)(int*, int*);
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  int (*code_size)(Program, size_t*);
  int (*code)(Program, char*);
  int (*ptx_size)(Program, size_t*);
  int (*ptx)(Program, char*);
  int (*destroy)(Program*);
  int (*architecture_count)(int*);
  int (*architectures)(int*);
  const char* (*error_text)(int);

  Nvrtc() {
    std::vector<std::string> paths;
    {
      const std::lock_guard guard(paths_lock);
      paths = nvrtc_paths();
    }
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "/usr/local/cuda/lib64/libnvrtc.so",
                             "nvrtc64_130_0.dll", "nvrtc64_120_0.dll"})
      paths.push_back(name);
    // A driver of CUDA 12 loads nothing that a compiler of CUDA 13 makes.
    std::stable_partition(paths.begin(), paths.end(), [driver = driver_of_cuda()](const std::string& path) {
      const std::string last = path.substr(path.rfind('.') + 1);
      const bool numbered = !last.empty() && last.find_first_not_of("0123456789") == std::string::npos;
      return !numbered || std::stoi(last) <= driver;
    });
    void* library = nullptr;
    for (const std::string& path : paths) {
      load_builtins(path);
      if ((library = open_library(path))) break;
    }
    if (!library)
      throw GpuError(
          "CUDA's run-time compiler (libnvrtc) cannot be found: pip install nvidia-cuda-nvrtc (CUDA 13) or "
          "nvidia-cuda-nvrtc-cu12; it comes with PyTorch's CUDA wheels, jax[cuda] and the CUDA toolkit");
    find(library, "nvrtcVersion", version);
    find(library, "nvrtcCreateProgram", create);
    find(library, "nvrtcCompileProgram", compile);
    find(library, "nvrtcGetProgramLogSize", log_size);
    find(library, "nvrtcGetProgramLog", log);
    find(library, "nvrtcGetCUBINSize", code_size);
    find(library, "nvrtcGetCUBIN", code);
    find(library, "nvrtcGetPTXSize", ptx_size);
    find(library, "nvrtcGetPTX", ptx);
    find(library, "nvrtcDestroyProgram", destroy);
    find(library, "nvrtcGetNumSupportedArchs", architecture_count);
    find(library, "nvrtcGetSupportedArchs", architectures);
    find(library, "nvrtcGetErrorString", error_text);
  }

  void check(int status, const std::string& what) const {
    if (status) throw GpuError(what + ": " + error_text(status));
  }

  std::vector<int> supported() const {
    int count = 0;
    check(architecture_count(&count), "NVRTC does not say what it compiles for");
    std::vector<int> all(static_cast<size_t>(count));
    check(architectures(all.data()), "NVRTC does not say what it compiles for");
    std::sort(all.begin(), all.end());
    return all;
  }
};

const Nvrtc& nvrtc() {
  static const Nvrtc it;
  return it;
}

Context primary_context(int device) {
  static std::mutex lock;
  static std::unordered_map<int, Context> known;
  const std::lock_guard guard(lock);
  Context& context = known[device];
  if (!context) {
    int handle = 0;
    driver().check(driver().device_at(&handle, device), "there is no such GPU");
    driver().check(driver().retain(&context, handle), "a GPU cannot be used");
  }
  return context;
}

}  // namespace

void look_for_nvrtc(std::vector<std::string> paths) {
  const std::lock_guard guard(paths_lock);
  nvrtc_paths() = std::move(paths);
}

int driver_version() {
  int version = 0;
  driver().check(driver().version(&version), "CUDA's driver does not say its version");
  return version;
}

int nvrtc_version() {
  static const int version = [] {
    int major = 0, minor = 0;
    nvrtc().check(nvrtc().version(&major, &minor), "NVRTC does not say its version");
    return major * 1000 + minor * 10;
  }();
  return version;
}

Device device_facts(int device) {
  int handle = 0, count = 0, major = 0, minor = 0;
  const Driver& d = driver();
  d.check(d.device_at(&handle, device), "there is no such GPU");
  d.check(d.attribute(&count, multiprocessor_count, handle), "a GPU does not say what it is");
  d.check(d.attribute(&major, capability_major, handle), "a GPU does not say what it is");
  d.check(d.attribute(&minor, capability_minor, handle), "a GPU does not say what it is");
  return {count, 10 * major + minor};
}

OnDevice::OnDevice(int device) {
  const Context wanted = primary_context(device);
  Context current = nullptr;
  driver().check(driver().current(&current), "no GPU is current");
  if (current == wanted) return;
  driver().check(driver().push(wanted), "a GPU cannot be made current");
  pushed_ = true;
}

OnDevice::~OnDevice() {
  Context last;
  if (pushed_) driver().pop(&last);
}

std::string compile(const std::string& source, const std::string& options, int architecture, std::string* log) {
  const Nvrtc& n = nvrtc();
  const std::vector<int> supported = n.supported();
  const auto version = [](int v) { return std::to_string(v / 10) + "." + std::to_string(v % 10); };
  if (architecture < supported.front())
    throw GpuError("this GPU's compute capability " + version(architecture) + " is older than " +
                   version(supported.front()) +
                   ", the oldest that the installed NVRTC compiles for: take an older one, "
                   "such as nvidia-cuda-nvrtc-cu12");
  // Of a GPU newer than the compiler the driver translates what is made for the newest that it knows.
  const bool native = std::binary_search(supported.begin(), supported.end(), architecture);
  const int target =
      native ? architecture : *std::prev(std::upper_bound(supported.begin(), supported.end(), architecture));

  std::vector<const char*> names, texts;
  const char* text = nullptr;
  for (const Source& s : sources()) {
    names.push_back(s.name);
    texts.push_back(s.text);
    if (s.name == source) text = s.text;
  }
  if (!text) throw std::logic_error("there is no kernel source " + source);
  Program program = nullptr;
  n.check(n.create(&program, text, source.c_str(), static_cast<int>(names.size()), texts.data(), names.data()),
          "NVRTC takes no program");
  std::vector<std::string> words = {
      "-std=c++17", (native ? "--gpu-architecture=sm_" : "--gpu-architecture=compute_") + std::to_string(target)};
  if (log) words.push_back("--ptxas-options=-v");
  std::istringstream each(options);
  for (std::string word; each >> word;) words.push_back(word);
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const int status = n.compile(program, static_cast<int>(arguments.size()), arguments.data());

  size_t size = 0;
  std::string said;
  if (n.log_size(program, &size) == 0 && size) {
    said.resize(size);
    n.log(program, said.data());
  }
  if (log) *log = said;
  std::string code;
  if (status == 0) {
    n.check((native ? n.code_size : n.ptx_size)(program, &size), "NVRTC gives no code");
    code.resize(size);
    n.check((native ? n.code : n.ptx)(program, code.data()), "NVRTC gives no code");
  }
  n.destroy(&program);
  if (status) throw GpuError("a kernel cannot be compiled (please report this; options " + options + "):\n" + said);
  return code;
}

Function load(const std::string& code, const std::string& entry) {
  Module module = nullptr;
  Function function = nullptr;
  const bool newer = nvrtc_version() / 1000 > driver_version() / 1000;
  driver().check(driver().load_module(&module, code.data()),
                 newer ? "a kernel cannot be loaded, since NVRTC is of a newer CUDA than the driver: pip install "
                         "nvidia-cuda-nvrtc-cu12, or a newer driver"
                       : "a kernel cannot be loaded");
  driver().check(driver().function_of(&function, module, entry.c_str()), "a kernel cannot be found");
  return function;
}

void launch(Function function, unsigned blocks, unsigned threads, void* parameters, Stream stream) {
  void* each[] = {parameters};
  driver().check(driver().launch(function, blocks, 1, 1, threads, 1, 1, 0, stream, each, nullptr),
                 "a kernel cannot be started");
}

}  // namespace depthwise::cuda
