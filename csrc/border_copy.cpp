#include "border_copy.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/pack.hpp"
#include "plan/facts.hpp"

namespace depthwise {
namespace {

// Elements from an axis' start to what stands at the places of a span.
std::vector<int64_t> offsets(Border border, Span places, int64_t size, int64_t stride) {
  std::vector<int64_t> all = mirrored(border, places, size);
  for (int64_t& at : all) at *= stride;
  return all;
}

// Short rows by vectors, of which the last lap over those before: a function's call would take longer.
inline void copy_row(char* to, const char* from, int64_t bytes) {
  constexpr int64_t vector = 16, block = 64, longest = 2048;
  if (bytes > longest) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  } else if (bytes >= block) {
    int64_t i = 0;
    for (; i < bytes - block; i += block) std::memcpy(to + i, from + i, block);
    std::memcpy(to + bytes - block, from + bytes - block, block);
  } else if (bytes >= vector) {
    for (int64_t i = 0; i < bytes - vector; i += vector) std::memcpy(to + i, from + i, vector);
    std::memcpy(to + bytes - vector, from + bytes - vector, vector);
  } else {
    for (int64_t i = 0; i < bytes; i += 2) std::memcpy(to + i, from + i, 2);
  }
}

}  // namespace

bool channels_last(const Images& images) {
  const int64_t sizes[array_axes] = {images.batch, images.channels, images.sizes[0], images.sizes[1], images.sizes[2]};
  return channels_are_closest(images.array.strides, sizes);
}

namespace {

template <class F>
void each_unit(int64_t units, int threads, Executor& executor, const F& f) {
  parallel_for(
      units, threads, 0,
      [](const void* body, int64_t begin, int64_t end, void*) {
        for (int64_t unit = begin; unit < end; ++unit) (*static_cast<const F*>(body))(unit);
      },
      &f, executor);
}

// Rows of a plane that one thread copies, and channels that are added together, since they are neighbours.
constexpr int64_t rows_together = 64, channel_block = 64;

template <class T>
void add_plane(const Images& from, const std::vector<int64_t> (&at)[3], const Images& to, int64_t n, Span channels) {
  const int64_t *fs = from.array.strides, *ts = to.array.strides;
  const T* source = static_cast<const T*>(from.array.data) + n * fs[0] + channels.begin * fs[1];
  T* target = static_cast<T*>(to.array.data) + n * ts[0] + channels.begin * ts[1];
  for (size_t d = 0; d < at[0].size(); ++d)
    for (size_t h = 0; h < at[1].size(); ++h) {
      const T* row = source + static_cast<int64_t>(d) * fs[depth_axis] + static_cast<int64_t>(h) * fs[height_axis];
      T* sums = target + at[0][d] + at[1][h];
      for (size_t w = 0; w < at[2].size(); ++w)
        for (int64_t c = 0; c < channels.size(); ++c)
          sums[at[2][w] + c * ts[1]] += row[static_cast<int64_t>(w) * fs[width_axis] + c * fs[1]];
    }
}

template <class T, class U>
void round_row(const T* from, int64_t from_step, U* to, int64_t to_step, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i * to_step] = convert<U>(from[i * from_step]);
}

}  // namespace

int64_t mirrored(Border border, int64_t place, int64_t size) {
  if (place >= 0 && place < size) return place;
  if (border == Border::edge) return place < 0 ? 0 : size - 1;
  const int64_t once = border == Border::reflect ? size - 1 : size;  // elements to the next turn
  const int64_t period = border == Border::wrap ? size : std::max<int64_t>(1, 2 * once);
  const int64_t at = place + ceil_div(-place, period) * period;
  if (at < size) return at;
  return border == Border::reflect ? period - at : period - 1 - at;
}

std::vector<int64_t> mirrored(Border border, Span places, int64_t size) {
  std::vector<int64_t> all(static_cast<size_t>(places.size()));
  for (int64_t i = 0; i < places.size(); ++i) all[static_cast<size_t>(i)] = mirrored(border, places.begin + i, size);
  return all;
}

Images box_of(const Images& images, const Box& box, DType dtype, void* data) {
  Images out{{data, dtype, {}}, images.batch, images.channels, {box[0].size(), box[1].size(), box[2].size()}};
  const bool last = channels_last(images);
  int64_t* strides = out.array.strides;
  int64_t stride = last ? images.channels : 1;
  for (int i = 2; i >= 0; --i) {
    strides[depth_axis + i] = stride;
    stride *= out.sizes[i];
  }
  strides[1] = last ? 1 : stride;
  strides[0] = last ? stride : stride * images.channels;
  return out;
}

BoxCopy::BoxCopy(const Images& from, Border border, const Box& box)
    : from_(from),
      last_(channels_last(from)),
      pixels_(last_ && from.array.strides[1] == 1),
      item_(item_bytes(from.array.dtype)),
      channels_(pixels_ ? from.channels : 1),
      inside_{std::clamp<int64_t>(-box[2].begin, 0, box[2].size()),
              std::clamp<int64_t>(from.sizes[2] - box[2].begin, 0, box[2].size())},
      d_(offsets(border, box[0], from.sizes[0], from.array.strides[depth_axis])),
      h_(offsets(border, box[1], from.sizes[1], from.array.strides[height_axis])),
      w_(offsets(border, box[2], from.sizes[2], from.array.strides[width_axis])) {
  dense_ = from.array.strides[width_axis] == channels_ && !inside_.empty();
}

template <class T>
void BoxCopy::copy_elements(char* to, const char* plane, Span rows) const {
  const int64_t step = last_ ? from_.channels : 1, count = static_cast<int64_t>(w_.size());
  const int64_t* const at = w_.data();
  const Span run = dense_ && !last_ ? inside_ : Span{count, count};  // of columns that are copied together
  T* row = reinterpret_cast<T*>(to);
  for (int64_t h = rows.begin; h < rows.end; ++h, row += count * step) {
    const T* image = reinterpret_cast<const T*>(plane) + h_[static_cast<size_t>(h)];
    for (int64_t i = 0; i < run.begin; ++i) row[i * step] = image[at[i]];
    if (!run.empty())
      copy_row(reinterpret_cast<char*>(row + run.begin), reinterpret_cast<const char*>(image + at[run.begin]),
               run.size() * int64_t{sizeof(T)});
    for (int64_t i = run.end; i < count; ++i) row[i * step] = image[at[i]];
  }
}

void BoxCopy::copy_pixels(char* row, const char* plane, Span rows) const {
  const int64_t pixel = channels_ * item_, count = static_cast<int64_t>(w_.size());
  for (int64_t h = rows.begin; h < rows.end; ++h, row += count * pixel)
    for (int64_t i = 0, pixels; i < count; i += pixels) {
      pixels = dense_ && i == inside_.begin ? inside_.size() : 1;
      std::memcpy(row + i * pixel, plane + (h_[static_cast<size_t>(h)] + w_[static_cast<size_t>(i)]) * item_,
                  static_cast<size_t>(pixels * pixel));
    }
}

void BoxCopy::copy_rows(int64_t n, int64_t c, int64_t d, Span rows, void* to) const {
  const int64_t* strides = from_.array.strides;
  const char* plane = static_cast<const char*>(from_.array.data) +
                      (n * strides[0] + c * strides[1] + d_[static_cast<size_t>(d)]) * item_;
  char* row = static_cast<char*>(to);
  if (pixels_)
    copy_pixels(row, plane, rows);
  else if (item_ == 2)
    copy_elements<uint16_t>(row, plane, rows);
  else if (item_ == 4)
    copy_elements<uint32_t>(row, plane, rows);
  else
    copy_elements<uint64_t>(row, plane, rows);
}

void BoxCopy::copy(const Images& to, int threads, Executor& executor) const {
  const int64_t* strides = to.array.strides;
  const int64_t channels = pixels_ ? 1 : from_.channels, depth = to.sizes[0], height = to.sizes[1];
  const int64_t bands = ceil_div(height, rows_together);
  each_unit(from_.batch * channels * depth * bands, threads, executor, [&](int64_t unit) {
    const int64_t begin = unit % bands * rows_together, d = unit / bands % depth, plane = unit / bands / depth;
    const int64_t n = plane / channels, c = plane % channels;
    char* at = static_cast<char*>(to.array.data) +
               (n * strides[0] + c * strides[1] + d * strides[depth_axis] + begin * strides[height_axis]) * item_;
    copy_rows(n, c, d, {begin, std::min(begin + rows_together, height)}, at);
  });
}

void add_along(size_t axis, Border border, int64_t size, const Placed& beside, const Placed& target, int threads,
               Executor& executor) {
  Images from = beside.images;
  const Images& to = target.images;
  std::vector<int64_t> at[3];
  for (size_t i = 0; i < 3; ++i) {
    const int64_t stride = to.array.strides[static_cast<size_t>(depth_axis) + i];
    if (i == axis) {
      at[i] = offsets(border, beside.box[i], size, stride);
      continue;
    }
    advance(from.array,
            (target.box[i].begin - beside.box[i].begin) * from.array.strides[static_cast<size_t>(depth_axis) + i]);
    for (int64_t place = 0; place < target.box[i].size(); ++place) at[i].push_back(place * stride);
  }
  const int64_t block = to.array.strides[1] == 1 ? channel_block : 1, blocks = ceil_div(to.channels, block);
  each_unit(to.batch * blocks, threads, executor, [&](int64_t unit) {
    const int64_t begin = unit % blocks * block;
    const Span channels{begin, std::min(begin + block, to.channels)};
    if (to.array.dtype == DType::f64)
      add_plane<double>(from, at, to, unit / blocks, channels);
    else
      add_plane<float>(from, at, to, unit / blocks, channels);
  });
}

BoxFold::BoxFold(const Images& to, Border border, const Box& box)
    : to_(to), box_(box), d_(beside(0, border)), h_(beside(1, border)), w_(beside(2, border)) {}

std::vector<BoxFold::Place> BoxFold::beside(size_t axis, Border border) const {
  std::vector<Place> all;
  const auto [begin, end] = box_[axis];
  for (int64_t at = begin; at < end; ++at)
    if (at < 0 || at >= to_.sizes[axis]) all.push_back({at - begin, mirrored(border, at, to_.sizes[axis]) - begin});
  return all;
}

template <class T>
void BoxFold::add_up(T* box) const {
  const int64_t width = box_[2].size(), plane = box_[1].size() * width;
  const auto add = [](T* to, const T* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
  };
  for (const auto& [beside, inside] : d_) add(box + inside * plane, box + beside * plane, plane);
  for (int64_t d = -box_[0].begin; d < to_.sizes[0] - box_[0].begin; ++d) {
    T* const at = box + d * plane;
    for (const auto& [beside, inside] : h_) add(at + inside * width, at + beside * width, width);
    for (int64_t h = -box_[1].begin; h < to_.sizes[1] - box_[1].begin; ++h)
      for (const auto& [beside, inside] : w_) at[h * width + inside] += at[h * width + beside];
  }
}

template <class T, class U>
void BoxFold::store(const T* box, U* image) const {
  const int64_t* strides = to_.array.strides;
  const int64_t width = box_[2].size(), height = box_[1].size();
  for (int64_t d = 0; d < to_.sizes[0]; ++d)
    for (int64_t h = 0; h < to_.sizes[1]; ++h) {
      const T* from = box + ((d - box_[0].begin) * height + h - box_[1].begin) * width - box_[2].begin;
      U* to = image + d * strides[depth_axis] + h * strides[height_axis];
      if (std::is_same_v<T, U> && strides[width_axis] == 1)
        copy_row(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), to_.sizes[2] * int64_t{sizeof(T)});
      else
        round_row(from, 1, to, strides[width_axis], to_.sizes[2]);
    }
}

void BoxFold::fold(DType dtype, void* box, int64_t n, int64_t c) const {
  const auto with_sums = [&](auto* sums) {
    add_up(sums);
    with_type(to_.array.dtype, [&](auto type) {
      using U = typename decltype(type)::type;
      store(sums, static_cast<U*>(to_.array.data) + n * to_.array.strides[0] + c * to_.array.strides[1]);
    });
  };
  if (dtype == DType::f64)
    with_sums(static_cast<double*>(box));
  else
    with_sums(static_cast<float*>(box));
}

void round_to(const Images& from, const Images& to, int threads, Executor& executor) {
  const int64_t *fs = from.array.strides, *ts = to.array.strides;
  // Rows are of channels or of columns, whichever are neighbours.
  const bool last = channels_last(to);
  const int64_t outer = last ? to.sizes[2] : to.channels, outer_axis = last ? width_axis : 1;
  const int64_t inner = last ? to.channels : to.sizes[2], inner_axis = last ? 1 : width_axis;
  each_unit(to.batch * to.sizes[0] * to.sizes[1], threads, executor, [&](int64_t unit) {
    const int64_t h = unit % to.sizes[1], d = unit / to.sizes[1] % to.sizes[0], n = unit / to.sizes[1] / to.sizes[0];
    const int64_t read = n * fs[0] + d * fs[depth_axis] + h * fs[height_axis];
    const int64_t written = n * ts[0] + d * ts[depth_axis] + h * ts[height_axis];
    with_type(to.array.dtype, [&](auto type) {
      using U = typename decltype(type)::type;
      const auto rows = [&](const auto* sums) {
        for (int64_t i = 0; i < outer; ++i)
          round_row(sums + read + i * fs[outer_axis], fs[inner_axis],
                    static_cast<U*>(to.array.data) + written + i * ts[outer_axis], ts[inner_axis], inner);
      };
      if (from.array.dtype == DType::f64)
        rows(static_cast<const double*>(from.array.data));
      else
        rows(static_cast<const float*>(from.array.data));
    });
  });
}

}  // namespace depthwise
