#include "padded_planes.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#include "blocks.hpp"
#include "border_windows.hpp"
#include "borders.hpp"
#include "weight_totals.hpp"

namespace depthwise {
namespace {

// Of the planes that are copied together; and of a plane of an input gradient at most, where a second-level cache does
// not hide that all of it is written twice. Of 16 bits it is written twice anyway.
constexpr int64_t copied_bytes = 256 << 10, gradient_bytes = 16 << 10;
// Elements before and behind a copy that whole vectors may read.
constexpr int64_t spare_elements = 64;
// Shares of a weight gradient's images, each summed alone: fixed, so that no bit hangs on the threads.
constexpr int64_t most_parts = 16;

// All work on this thread.
class Alone final : public Executor {
 public:
  bool run(int, int, Call, const void*) override { return false; }
};

// So many of `size`, the last perhaps fewer.
struct Evenly {
  int64_t size, each;
  int64_t count() const { return ceil_div(size, each); }
  Span span(int64_t i) const { return {i * each, std::min(size, (i + 1) * each)}; }
  bool is_short(int64_t i) const { return (i + 1) * each > size; }
};

// About so many, in equal shares.
Evenly evenly(int64_t size, int64_t most) { return {size, ceil_div(size, ceil_div(size, std::max<int64_t>(1, most)))}; }

int64_t bytes_between(const Array& from, const Array& to) {
  return reinterpret_cast<intptr_t>(to.data) - reinterpret_cast<intptr_t>(from.data);
}

// All places that a plane's windows cover, and, of an input gradient, the image itself.
Box places_of(const Problem& p) {
  Box box = places(p, each_axis(p, outputs));
  if (p.pass == Pass::input_grad)
    for (size_t i = 0; i < 3; ++i)
      box[i] = {std::min<int64_t>(box[i].begin, 0), std::max(box[i].end, (p.*spatial[i]).size)};
  return box;
}

DType copied_dtype(const Problem& p) { return p.pass == Pass::input_grad ? accumulator(p) : p.x.dtype; }

// What planes are parts of, so that no bit hangs on how many are copied together.
Problem whole_of(const Problem& p) { return p.pass == Pass::input_grad ? sums_beside(p) : on_padded_image(p); }

int64_t plane_bytes(const Problem& p) { return elements(places_of(p)) * item_bytes(copied_dtype(p)); }

class PaddedPlanes {
 public:
  PaddedPlanes(const Problem& p, const Target& target, int threads, Executor& executor)
      : p_(p),
        target_(target),
        threads_(threads),
        executor_(executor),
        whole_(whole_of(p)),
        box_(places_of(p)),
        plane_bytes_(plane_bytes(p)),
        groups_(evenly(p.channels, copied_bytes / plane_bytes_)) {}

  void forward() {
    make_plans();
    const BoxCopy copy(images_of(p_), p_.border, box_);
    each_range(p_.batch * groups_.count(), [&](int64_t begin, int64_t end) {
      const Block memory(memory_bytes());
      for (int64_t i = begin; i < end; ++i) {
        const Piece piece = piece_at(i % groups_.count(), i / groups_.count());
        run(copied(copy, piece, memory), piece);
      }
    });
  }

  void input_grad() {
    make_plans();
    const DType sums = copied_dtype(p_);
    const BoxFold fold(images_of(p_), p_.border, box_);
    each_range(p_.batch * groups_.count(), [&](int64_t begin, int64_t end) {
      const Block memory(memory_bytes());
      for (int64_t i = begin; i < end; ++i) {
        const Piece piece = piece_at(i % groups_.count(), i / groups_.count());
        run(problem_of(piece, copy_in(memory)), piece);
        char* plane = static_cast<char*>(copy_in(memory));
        for (int64_t c = piece.channels.begin; c < piece.channels.end; ++c, plane += plane_bytes_)
          fold.fold(sums, plane, piece.images.begin, c);
      }
    });
  }

  void weight_grad() {
    const int64_t parts = std::min(p_.batch, ceil_div(most_parts, groups_.count()));
    const Evenly shares = evenly(p_.batch, ceil_div(p_.batch, parts));
    const int64_t count = weight_totals(p_);
    const Block memory((parts + 1) * count * int64_t{sizeof(double)});
    double* totals = static_cast<double*>(memory.data());
    std::fill_n(totals, (parts + 1) * count, 0.0);
    const bool sums_up = p_.batch > 1;
    plan_for_ = sums_up ? into_totals(p_, totals) : p_;  // a piece's sums lie like these
    make_plans();
    const BoxCopy copy(images_of(p_), p_.border, box_);
    each_range(groups_.count() * shares.count(), [&](int64_t begin, int64_t end) {
      const Block copies(memory_bytes()), sums(count * int64_t{sizeof(double)});
      for (int64_t i = begin; i < end; ++i) {
        const int64_t group = i % groups_.count(), part = i / groups_.count();
        const Span share = shares.span(part);
        for (int64_t n = share.begin; n < share.end; ++n) {
          const Piece piece = piece_at(group, n);
          Problem problem = copied(copy, piece, copies);
          if (!sums_up) {
            run(problem, piece);
            continue;
          }
          const Problem here = some_planes(into_totals(p_, static_cast<double*>(sums.data())), {0, 0}, piece.channels);
          problem.W = here.W;
          problem.b = here.b;
          run(problem, piece);
          add(static_cast<const double*>(sums.data()), piece.channels, totals + (1 + part) * count);
        }
      }
    });
    if (!sums_up) return;
    for (int64_t part = 1; part <= parts; ++part)
      for (int64_t i = 0; i < count; ++i) totals[i] += totals[part * count + i];
    store_totals(p_, totals);
  }

 private:
  // Some channels of one image.
  struct Piece {
    int64_t group;
    Span images, channels;
  };

  Piece piece_at(int64_t group, int64_t image) const { return {group, {image, image + 1}, groups_.span(group)}; }

  // Calls f(begin, end) on ranges that cover [0, units), by several threads.
  template <class F>
  void each_range(int64_t units, const F& f) const {
    struct Job {
      const F& f;
      mutable std::atomic<bool> enough{true};
    } const job{f};
    parallel_for(
        units, threads_, 0,
        [](const void* it, int64_t begin, int64_t end, void*) {
          const Job& all = *static_cast<const Job*>(it);
          try {
            all.f(begin, end);
          } catch (const std::bad_alloc&) {  // another thread's: it ends here
            all.enough = false;
          }
        },
        &job, executor_);
    if (!job.enough) throw std::bad_alloc();
  }

  int64_t memory_bytes() const {
    return groups_.each * plane_bytes_ + 2 * spare_elements * item_bytes(copied_dtype(p_));
  }
  void* copy_in(const Block& memory) const {
    return static_cast<char*>(memory.data()) + spare_elements * item_bytes(copied_dtype(p_));
  }

  // A piece, x being a copy there.
  Problem problem_of(const Piece& piece, void* x) const {
    const Problem planes = some_planes(p_, piece.images, piece.channels);
    const Array copy = box_of(images_of(planes), box_, copied_dtype(p_), x).array;
    if (p_.pass != Pass::input_grad) {
      Problem problem = of_outputs(planes, each_axis(p_, outputs), copy);
      if (p_.pass == Pass::forward) problem.whole = &whole_;
      return problem;
    }
    Problem problem = planes;
    problem.border = Border::constant;
    problem.x = copy;
    problem.whole = &whole_;
    for (size_t i = 0; i < 3; ++i) {
      Axis& a = problem.*spatial[i];
      a.size = box_[i].size();
      a.pad += box_[i].begin;
    }
    return problem;
  }

  Problem copied(const BoxCopy& copy, const Piece& piece, const Block& memory) const {
    const Problem problem = problem_of(piece, copy_in(memory));
    char* at = static_cast<char*>(problem.x.data);
    for (int64_t c = piece.channels.begin; c < piece.channels.end; ++c)
      for (int64_t d = 0; d < problem.d.size; ++d, at += plane_bytes_ / problem.d.size)
        copy.copy_rows(piece.images.begin, c, d, {0, problem.h.size}, at);
    return problem;
  }

  // Whole groups have one plan, the last, which may be smaller, has another.
  void make_plans() {
    for (const int64_t group : {int64_t{0}, groups_.count() - 1}) {
      Planned& it = planned_[groups_.is_short(group)];
      if (it.plan) continue;
      const Piece piece = piece_at(group, 0);
      it.problem = problem_of(piece, p_.x.data);
      if (p_.pass == Pass::weight_grad) {
        const Problem sums = some_planes(plan_for_, {0, 0}, piece.channels);
        it.problem.W = sums.W;
        it.problem.b = sums.b;
      }
      it.plan = std::make_unique<Plan>(it.problem, target_, 1);
    }
  }

  void run(const Problem& problem, const Piece& piece) const {
    const Planned& it = planned_[groups_.is_short(piece.group)];
    Alone alone;
    execute(*it.plan, alone,
            {.x = bytes_between(it.problem.x, problem.x),
             .W = bytes_between(it.problem.W, problem.W),
             .b = bytes_between(it.problem.b, problem.b),
             .y = bytes_between(it.problem.y, problem.y),
             .spare = spare_elements});
  }

  // Adds the sums of some channels.
  void add(const double* sums, Span channels, double* totals) const {
    const int64_t taps = p_.d.kernel * p_.h.kernel * p_.w.kernel, outs = p_.channels * p_.multiplier;
    const auto add_span = [&](int64_t begin, int64_t count) {
      for (int64_t i = begin; i < begin + count; ++i) totals[i] += sums[i];
    };
    for (int64_t m = 0; m < p_.multiplier; ++m)
      add_span((m * p_.channels + channels.begin) * taps, channels.size() * taps);
    if (p_.b.data) add_span(outs * taps + channels.begin * p_.multiplier, channels.size() * p_.multiplier);
  }

  struct Planned {
    Problem problem{};
    std::unique_ptr<Plan> plan;
  };

  const Problem& p_;
  const Target& target_;
  const int threads_;
  Executor& executor_;
  const Problem whole_;
  const Box box_;
  const int64_t plane_bytes_;
  const Evenly groups_;
  Problem plan_for_{};
  Planned planned_[2];
};

}  // namespace

bool takes_padded_planes(const Problem& p) {
  if (p.method != Method::direct || channels_last(images_of(p))) return false;
  if (p.pass == Pass::weight_grad && (p.d.kernel > 1 || p.d.size > 1)) return false;  // one for each tap in depth
  const bool is_written_once = p.pass == Pass::input_grad && p.x.dtype == accumulator(p);
  return plane_bytes(p) <= (is_written_once ? gradient_bytes : copied_bytes);
}

void solve_by_padded_planes(const Problem& p, const Target& target, int threads, Executor& executor) {
  PaddedPlanes it(p, target, threads, executor);
  if (p.pass == Pass::forward) return it.forward();
  if (p.pass == Pass::input_grad) return it.input_grad();
  it.weight_grad();
}

}  // namespace depthwise
