#include "borders.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "blocks.hpp"
#include "border_windows.hpp"
#include "padded_planes.hpp"
#include "weight_totals.hpp"

namespace depthwise {
namespace {

constexpr int64_t most_copied_bytes = int64_t{8} << 20;

// Places or outputs beside others along an axis; of the axes before it inside, of those behind it all.
struct Strip {
  size_t axis;
  Box box;
};

// `all` without `inner`, which is not empty: at most two strips for each axis.
std::vector<Strip> around(const Box& all, const Box& inner) {
  std::vector<Strip> strips;
  Box rest = all;
  for (size_t i = 0; i < 3; ++i) {
    for (const Span side : {Span{all[i].begin, inner[i].begin}, Span{inner[i].end, all[i].end}}) {
      if (side.empty()) continue;
      strips.push_back({i, rest});
      strips.back().box[i] = side;
    }
    rest[i] = inner[i];
  }
  return strips;
}

// The problem of a box of the outputs whose windows lie inside the image.
Problem in_place(const Problem& p, const Box& outs) {
  Array x = p.x;
  for (size_t i = 0; i < 3; ++i)
    advance(x, places(p.*spatial[i], outs[i]).begin * p.x.strides[static_cast<size_t>(depth_axis) + i]);
  return of_outputs(p, outs, x);
}

// Whether most outputs lie inside. Else a copy of everything takes less than problems of parts.
bool most_are_inside(const Problem& p) {
  return 2 * elements(each_axis(p, outputs_inside)) >= elements(each_axis(p, outputs));
}

// Calls f(images, channels) for groups of planes of so many bytes.
template <class F>
void each_group(const Problem& p, int64_t plane_bytes, const F& f) {
  constexpr int64_t even = 16;  // channels that a group is a multiple of, so that vectors are full
  int64_t planes = std::max<int64_t>(1, most_copied_bytes / std::max<int64_t>(1, plane_bytes));
  if (planes > even) planes = planes / even * even;
  const int64_t channels = std::min(planes, p.channels), images = std::max<int64_t>(1, planes / p.channels);
  for (int64_t n = 0; n < p.batch; n += images)
    for (int64_t c = 0; c < p.channels; c += channels)
      f(Span{n, std::min(n + images, p.batch)}, Span{c, std::min(c + channels, p.channels)});
}

class WithBorder {
 public:
  WithBorder(const Problem& p, const Target& target, int threads, Executor& executor, KeptSpectra* keeper)
      : p_(p), target_(target), threads_(threads), executor_(executor), keeper_(keeper) {}

  // Sums are formed in one order inside and at the border: that of one problem on a padded copy.
  void forward() const {
    const Problem whole = on_padded_image(p_);
    each_part([&](Problem part, bool inside) {
      part.whole = &whole;
      solve_part(part, inside);
    });
  }

  // Sums are those of one problem on all places; what belongs beside the image is then added where it comes from, one
  // axis after the other.
  void input_grad() const {
    const DType sums = accumulator(p_);
    const Problem whole = sums_beside(p_);
    if (p_.x.dtype == sums) return add_up(p_, whole);
    const Box image{Span{0, p_.d.size}, Span{0, p_.h.size}, Span{0, p_.w.size}};
    const int64_t bytes = elements(image) * item_bytes(sums);
    each_group(p_, bytes, [&](Span images, Span channels) {
      const Problem planes = some_planes(p_, images, channels);
      const Block memory(bytes * images.size() * channels.size());
      const Images wide = box_of(images_of(planes), image, sums, memory.data());
      Problem of_sums = planes;
      of_sums.x = wide.array;
      add_up(of_sums, whole);
      round_to(wide, images_of(planes), threads_, executor_);
    });
  }

  void weight_grad() const {
    const int64_t count = weight_totals(p_);
    const Block memory(2 * count * int64_t{sizeof(double)});
    double *totals = static_cast<double*>(memory.data()), *sums = totals + count;
    std::fill_n(totals, count, 0.0);
    const Problem of_sums = into_totals(p_, sums);
    WithBorder(of_sums, target_, threads_, executor_, keeper_).each_part([&](const Problem& part, bool inside) {
      std::fill_n(sums, count, 0.0);  // of channels that the part does not have
      solve_part(part, inside);
      for (int64_t i = 0; i < count; ++i) totals[i] += sums[i];
    });
    store_totals(p_, totals);
  }

 private:
  // Calls f(problem, whether it lies inside the image) for problems that together are this one.
  template <class F>
  void each_part(const F& f) const {
    const Box all = each_axis(p_, outputs);
    if (!most_are_inside(p_)) return each_copied(all, f);
    const Box inside = each_axis(p_, outputs_inside);
    f(in_place(p_, inside), true);
    for (const Strip& strip : around(all, inside)) each_copied(strip.box, f);
  }

  template <class F>
  void each_copied(const Box& outs, const F& f) const {
    const Box read = places(p_, outs);
    const int64_t bytes = elements(read) * item_bytes(p_.x.dtype);
    each_group(p_, bytes, [&](Span images, Span channels) {
      const Problem planes = some_planes(p_, images, channels);
      const Block memory(bytes * images.size() * channels.size());
      const Images copy = box_of(images_of(planes), read, p_.x.dtype, memory.data());
      BoxCopy(images_of(planes), p_.border, read).copy(copy, threads_, executor_);
      f(of_outputs(planes, outs, copy.array), false);
    });
  }

  void solve_part(const Problem& part, bool inside) const {
    depthwise::solve_part(part, target_, threads_, executor_, inside ? keeper_ : nullptr);
  }

  // An input gradient whose x has the sums' type.
  void add_up(const Problem& p, const Problem& whole) const {
    Problem zeros = p;
    zeros.border = Border::constant;
    zeros.whole = &whole;
    solve_part(zeros, true);
    const Box image{Span{0, p.d.size}, Span{0, p.h.size}, Span{0, p.w.size}};
    Box met = places(p, each_axis(p, outputs));
    for (size_t i = 0; i < 3; ++i)
      met[i] = {std::min(met[i].begin, image[i].begin), std::max(met[i].end, image[i].end)};
    const std::vector<Strip> strips = around(met, image);
    int64_t bytes = 0;
    for (const Strip& strip : strips) bytes += elements(strip.box) * item_bytes(p.x.dtype);
    each_group(p, bytes, [&](Span images, Span channels) {
      const Problem planes = some_planes(zeros, images, channels);
      const Block memory(bytes * images.size() * channels.size());
      char* at = static_cast<char*>(memory.data());
      std::vector<Placed> sums;
      for (const Strip& strip : strips) {
        sums.push_back({box_of(images_of(planes), strip.box, p.x.dtype, at), strip.box});
        sum_beside(planes, sums.back());
        at += elements(strip.box) * item_bytes(p.x.dtype) * images.size() * channels.size();
      }
      sums.push_back({images_of(planes), image});
      // Corners of a strip go through those of later axes.
      for (size_t i = 0; i < strips.size(); ++i)
        for (size_t to = i + 1; to < sums.size(); ++to)
          if (to == strips.size() || strips[to].axis > strips[i].axis)
            add_along(strips[i].axis, p.border, image[strips[i].axis].size(), sums[i], sums[to], threads_, executor_);
    });
  }

  // The gradient of a strip of places beside the image.
  void sum_beside(const Problem& zeros, const Placed& strip) const {
    Problem beside = zeros;
    beside.x = strip.images.array;
    for (size_t i = 0; i < 3; ++i) {
      Axis& a = beside.*spatial[i];
      const int64_t pad = a.pad + strip.box[i].begin;
      const Span outs{std::max<int64_t>(0, floor_div(pad - reach(a) + 1, a.stride)),
                      std::min(a.out, floor_div(pad + strip.box[i].size() - 1, a.stride) + 1)};
      if (outs.empty()) return fill_zeros(strip);
      a.size = strip.box[i].size();
      a.pad = pad - outs.begin * a.stride;
      a.out = outs.size();
      advance(beside.y, outs.begin * zeros.y.strides[static_cast<size_t>(depth_axis) + i]);
    }
    solve_part(beside, false);
  }

  static void fill_zeros(const Placed& strip) {
    const auto& [array, batch, channels, sizes] = strip.images;
    std::memset(array.data, 0, static_cast<size_t>(batch * channels * elements(strip.box) * item_bytes(array.dtype)));
  }

  const Problem& p_;
  const Target& target_;
  const int threads_;
  Executor& executor_;
  KeptSpectra* const keeper_;
};

}  // namespace

bool meets_border(const Problem& p) {
  if (p.border == Border::constant || p.batch * p.channels * p.multiplier == 0) return false;
  bool meets = false;
  for (const auto at : spatial) {
    const Axis& a = p.*at;
    if (!a.kernel || !a.size || !a.out) return false;
    meets |= outputs_inside(a).size() < a.out;
  }
  return meets;
}

void solve_with_border(const Problem& p, const Target& target, int threads, Executor& executor, KeptSpectra* keeper) {
  if (takes_padded_planes(p)) return solve_by_padded_planes(p, target, threads, executor);
  const WithBorder it(p, target, threads, executor, keeper);
  if (p.pass == Pass::forward) return it.forward();
  if (p.pass == Pass::input_grad) return it.input_grad();
  it.weight_grad();
}

Problem on_padded_image(const Problem& p) {
  if (!meets_border(p)) return p;
  const Box all = each_axis(p, outputs);
  return of_outputs(p, all, box_of(images_of(p), places(p, all), p.x.dtype, nullptr).array);
}

Problem sums_beside(const Problem& p) {
  Problem sums = p;
  sums.x.dtype = accumulator(p);
  return on_padded_image(sums);
}

Problem largest_inside(const Problem& p) {
  if (!meets_border(p)) return p;
  if (p.pass == Pass::input_grad) {
    Problem zeros = p;
    zeros.border = Border::constant;
    return zeros;
  }
  return most_are_inside(p) ? in_place(p, each_axis(p, outputs_inside)) : on_padded_image(p);
}

}  // namespace depthwise
