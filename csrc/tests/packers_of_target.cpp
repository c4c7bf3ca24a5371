// Built once for each target, with its flags and no others.
#include DEPTHWISE_VECTORS
// The order matters: the kernels use the names that the vector header defines.
#include "../kernels/packed_rows.hpp"
#include "../kernels/packed_weights.hpp"
#include "../kernels/row_windows.hpp"
#include "packers.hpp"

namespace {

template <class S>
struct Calls {
  using E = typename S::E;

  static void widen(DType t, void* to, const void* from, int64_t step, int64_t count) {
    with_type(t, [&](auto type) {
      using T = typename decltype(type)::type;
      widen_span<S, T>(static_cast<E*>(to), static_cast<const T*>(from), step, count);
    });
  }
  static void narrow(DType t, void* to, int64_t step, const void* from, int64_t count) {
    with_type(t, [&](auto type) {
      using T = typename decltype(type)::type;
      narrow_span<S, T>(static_cast<T*>(to), step, static_cast<const E*>(from), count);
    });
  }
  static void gather(DType t, void* to, const void* from, int64_t step) {
    with_type(t, [&](auto type) {
      using T = typename decltype(type)::type;
      if constexpr (vector_converts<S, T>) S::store(static_cast<E*>(to), S::gather(static_cast<const T*>(from), step));
    });
  }
  static void to_pixels(void* to, const void* from, int64_t lane, int64_t columns) {
    columns_to_pixels<S>(static_cast<E*>(to), static_cast<const E*>(from), lane, columns);
  }
  static void to_columns(void* to, int64_t lane, const void* from, int64_t columns) {
    pixels_to_columns<S>(static_cast<E*>(to), lane, static_cast<const E*>(from), columns);
  }
  static void load(const depthwise::Side& side, int64_t channels, int64_t divide, int64_t sum, void* to, int64_t from,
                   int64_t v, int64_t k, int64_t columns, void* scratch) {
    PackedPixels<S> pixels(side, {.channels = channels, .divide = divide, .sum = sum});
    Arena arena(scratch);
    pixels.take(arena);
    pixels.load(static_cast<E*>(to), from + k * side.channel, v, columns);
  }
  static void store(const depthwise::Side& side, int64_t channels, const void* from, int64_t to, int64_t v,
                    int64_t columns, void* scratch) {
    PackedPixels<S> pixels(side, {.channels = channels, .divide = 1, .sum = 1});
    Arena arena(scratch);
    pixels.take(arena);
    pixels.store(static_cast<const E*>(from), to, v, columns);
  }
  static const void* windows(const depthwise::Side& side, int64_t channels, int64_t divide, int64_t sum, int64_t rows,
                             int64_t columns, const depthwise::CrossTap* taps, int64_t tap_count, int64_t step,
                             int64_t u0, int64_t u1, int64_t v, int64_t begin, int64_t end, int64_t* place,
                             void* scratch) {
    PackedWindows<S> packed(side, {.channels = channels, .divide = divide, .sum = sum}, 1, sum, rows, columns);
    Arena arena(scratch);
    const RowWindows windows(taps, tap_count, step, {u0, u1}, arena.take<RowWindow>(tap_count));
    packed.take(arena);
    for (int64_t k = 0; k < sum; ++k) packed.pack(windows, k, k * side.channel, {v, v + 1}, {begin, end});
    for (int64_t o = 0; o < tap_count; ++o) place[o] = windows.place(taps[o]);
    return packed.data();
  }
  static void lines(const depthwise::Side& side, const depthwise::RowLayoutView& layout, int64_t strip_begin,
                    int64_t most, int64_t height, bool near, void (*see)(void*, int64_t, const void*), void* what,
                    void* scratch) {
    PackedRows<S> rows(side, layout);
    Arena arena(scratch);
    rows.take(arena, 2, 2, most);
    if (!near) rows.stay_inside(bounds_of(side, 1, 1, 0));
    rows.forget(strip_begin);
    for (int64_t line = 0; line < side.lines; ++line) {
      const int64_t end = at_most(side.lines, line + height);
      const Step at = rows.lines(rows.windows_of(line % 2) + 1, line, end, [&](int64_t l) { return l * side.line; });
      for (int64_t l = line; l < end; ++l) see(what, l, rows.data() + at + (l - line) * rows.line_size());
    }
  }
  static void weights(const depthwise::Correlation& job, int64_t group, const void** weights, const void** bias,
                      void* scratch) {
    PackedWeights<S> packed(job);
    Arena arena(scratch);
    packed.take(arena);
    const GroupWeights<E>& found = packed.pack(group);
    *weights = found.weights;
    *bias = found.bias;
  }
  static constexpr depthwise::Packers all = {.lanes = S::N,
                                             .widen = widen,
                                             .narrow = narrow,
                                             .gather = gather,
                                             .columns_to_pixels = to_pixels,
                                             .pixels_to_columns = to_columns,
                                             .load_pixels = load,
                                             .store_pixels = store,
                                             .pack_windows = windows,
                                             .pack_lines = lines,
                                             .pack_weights = weights};
};

}  // namespace

namespace depthwise {
extern const Packers DEPTHWISE_PACKERS[2];
const Packers DEPTHWISE_PACKERS[2] = {Calls<F32>::all, Calls<F64>::all};
}  // namespace depthwise
