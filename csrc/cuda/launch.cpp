#include "launch.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "kernel_cache.hpp"
#include "plan.hpp"

namespace depthwise::cuda {

namespace {

std::atomic<int64_t> launched{0};

// All that a plan hangs on.
struct Key {
  std::array<int64_t, 49> facts;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const int64_t fact : key.facts) {
      hash = (hash ^ static_cast<uint64_t>(fact)) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

Key key_of(const Problem& p, int device) {
  Key key{};
  size_t n = 0;
  const auto add = [&](int64_t fact) { key.facts[n++] = fact; };
  for (const int64_t fact : {static_cast<int64_t>(p.pass), p.batch, p.channels, p.multiplier, int64_t{device},
                             static_cast<int64_t>(p.activation), static_cast<int64_t>(p.method),
                             static_cast<int64_t>(p.border), int64_t{p.b.data != nullptr}})
    add(fact);
  for (const Axis* a : {&p.d, &p.h, &p.w})
    for (const int64_t fact : {a->size, a->kernel, a->stride, a->pad, a->dilate, a->out}) add(fact);
  for (const Array* a : {&p.x, &p.W, &p.y}) {
    add(static_cast<int64_t>(a->dtype));
    for (const int64_t stride : a->strides) add(stride);
  }
  for (const Array* a : {&p.x, &p.y}) add(reinterpret_cast<uintptr_t>(a->data) % 16);
  add(static_cast<int64_t>(p.b.dtype));
  add(p.b.data ? p.b.strides[0] : 0);
  return key;
}

struct Prepared {
  GpuPlan plan;
  std::vector<Function> functions;  // of the steps
};

Function function_of(const Kernel& kernel, int device, int architecture) {
  static std::mutex lock;
  static std::unordered_map<std::string, std::string> codes;
  static std::unordered_map<std::string, Function> loaded;
  const std::lock_guard guard(lock);
  const std::string of_code = std::to_string(architecture) + " " + kernel.source + " " + kernel.options;
  const std::string name = std::to_string(device) + " " + kernel.entry + " " + of_code;
  if (const auto found = loaded.find(name); found != loaded.end()) return found->second;
  std::string& code = codes[of_code];
  if (code.empty()) code = machine_code(kernel, architecture);
  return loaded[name] = load(code, kernel.entry);
}

std::shared_ptr<const Prepared> prepared(const Problem& p, int device) {
  static std::shared_mutex lock;
  static std::unordered_map<Key, std::shared_ptr<const Prepared>, KeyHash> known;
  constexpr size_t most = 4096;  // then all are forgotten: their kernels are not
  const Key key = key_of(p, device);
  {
    const std::shared_lock guard(lock);
    if (const auto found = known.find(key); found != known.end()) return found->second;
  }
  const Device facts = device_facts(device);
  auto made = std::make_shared<Prepared>();
  made->plan = make_plan(p, facts.multiprocessors);
  const OnDevice current(device);
  for (const Step& step : made->plan.steps)
    made->functions.push_back(function_of(step.kernel, device, facts.architecture));
  const std::unique_lock guard(lock);
  if (known.size() >= most) known.clear();
  return known[key] = std::move(made);
}

}  // namespace

int64_t workspace_bytes(const Problem& p, int device) { return prepared(p, device)->plan.workspace; }

void launch(const Problem& p, int device, Stream stream, void* workspace) {
  const auto ready = prepared(p, device);
  const OnDevice current(device);
  for (size_t i = 0; i < ready->plan.steps.size(); ++i) {
    const Step& step = ready->plan.steps[i];
    Parameters parameters = addressed(step, p, workspace);
    std::visit([&](auto& each) { launch(ready->functions[i], step.blocks, step.threads, &each, stream); }, parameters);
    launched.fetch_add(1, std::memory_order_relaxed);
  }
}

int64_t launches() { return launched; }

}  // namespace depthwise::cuda
