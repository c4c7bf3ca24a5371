// The spectrum of a plane of real numbers, one plane for each lane.
//
// Rows are transformed two at a time, as the real and the imaginary parts of one, and of a row's spectrum the half is
// kept that the other mirrors; then come the columns. On the way back it is the columns first. A column is transformed,
// handed to whoever has use for it and transformed back while it is in a first-level cache.
#pragma once
#include "fourier.hpp"
#include "lane_windows.hpp"

namespace {

// What stays of the factor 2 for each of two spectra, and of a transform there and back.
inline double spectral_scale(const FourierAxis& h, const FourierAxis& w) {
  return 1 / (4.0 * static_cast<double>(h.size) * static_cast<double>(w.size));
}

template <class S>
class SpectralPlane {
  using E = typename S::E;
  using V = typename S::V;

 public:
  SpectralPlane(const FourierAxis& h, const FourierAxis& w)
      : h_(h), w_(w), along_h_(h), along_w_(w), half_(w.size / 2 + 1) {}

  void take(Arena& arena) {
    data_ = arena.take<E>(h_.size * row_size());
    // Two rows, and what their transform takes.
    stage_ = arena.take<E>(2 * w_.size * S::N);
    spectrum_ = arena.take<E>(2 * w_.size * S::N);
    scratch_ = arena.take<E>(at_least(Fourier<S>::scratch_elements(h_), Fourier<S>::scratch_elements(w_)));
  }

  int64_t columns() const { return half_; }
  // Elements of a column where it stands alone.
  int64_t column_size() const { return 2 * h_.size * S::N; }

  // Transforms the rows of some windows: window row u and column v stand at first + u * step on their axes.
  struct Places {
    int64_t first, step;
    int64_t at(int64_t i) const { return first + i * step; }
  };
  void transform_rows(const LaneWindows<S>& windows, Places row_places, Places column_places) {
    const Range rows = windows.rows(), columns = windows.columns();
    int64_t next = 0;  // row that is to be cleared first, where rows stand in order
    const bool in_order = row_places.step > 0;
    if (!in_order || columns.empty() || rows.empty()) clear_rows(0, h_.size);
    if (columns.empty() || rows.empty()) return;
    ::clear<S>(stage_, 2 * w_.size * S::N);
    const Step step = column_places.step * S::N;
    for (int64_t u = rows.begin; u < rows.end; u += 2) {
      const bool two = u + 1 < rows.end;
      windows.load(stage_ + column_places.at(columns.begin) * S::N, step, u);
      if (two)
        windows.load(second_stage() + column_places.at(columns.begin) * S::N, step, u + 1);
      else
        ::clear<S>(second_stage(), w_.size * S::N);
      along_w_.transform({stage_, second_stage(), S::N}, span_at<S>(spectrum_), scratch_);
      const int64_t first = row_places.at(u), second = two ? row_places.at(u + 1) : -1;
      tell_apart(row(first), two ? row(second) : nullptr);
      if (!in_order) continue;
      clear_rows(next, first);
      if (two) clear_rows(first + 1, second);
      next = (two ? second : first) + 1;
    }
    if (in_order) clear_rows(next, h_.size);
  }

  // A column's spectrum, to a column that stands alone.
  void transform_column(int64_t k, E* to) { along_h_.transform(column(k), span_at<S>(to), scratch_); }
  // ... and back from it.
  void transform_column_back(E* from, int64_t k) {
    along_h_.transform(span_at<S>(from).swapped(), column(k).swapped(), scratch_);
  }

  // What a column's place holds meanwhile.
  void load_column(int64_t k, E* to) const { copy_span(column(k), span_at<S>(to)); }
  void store_column(E* from, int64_t k) { copy_span(span_at<S>(from), column(k)); }

  // Transforms two rows back: the vectors of the first, and of the second behind those.
  const E* transform_rows_back(int64_t first, int64_t second) {
    put_together(row(first), row(second));
    along_w_.transform(span_at<S>(spectrum_).swapped(), ComplexSpan<E>{stage_, second_stage(), S::N}.swapped(),
                       scratch_);
    return stage_;
  }

 private:
  int64_t row_size() const { return half_ * 2 * S::N; }
  E* row(int64_t i) {
    DEPTHWISE_REQUIRE(i >= 0 && i < h_.size, "a row has a place");
    return data_ + i * row_size();
  }
  ComplexSpan<E> column(int64_t k) const {
    E* first = data_ + k * 2 * S::N;
    return {first, first + S::N, row_size()};
  }
  E* second_stage() const { return stage_ + w_.size * S::N; }

  void copy_span(const ComplexSpan<E>& from, const ComplexSpan<E>& to) const {
    for (int64_t i = 0; i < h_.size; ++i) store_at<S>(to, i, load_at<S>(from, i));
  }

  void clear_rows(int64_t begin, int64_t end) {
    if (begin < end) ::clear<S>(data_ + begin * row_size(), (end - begin) * row_size());
  }

  // The spectra of the two rows, twice each, whose sum and i-fold is in spectrum_.
  void tell_apart(E* first, E* second) const {
    const ComplexSpan<E> all = span_at<S>(spectrum_);
    for (int64_t k = 0; k < half_; ++k) {
      const Complex<S> a = load_at<S>(all, k), b = load_at<S>(all, k ? w_.size - k : 0);
      store_at<S>(span_at<S>(first), k, {S::add(a.re, b.re), S::sub(a.im, b.im)});
      if (second) store_at<S>(span_at<S>(second), k, {S::add(a.im, b.im), S::sub(b.re, a.re)});
    }
  }
  // The way back.
  void put_together(E* first, E* second) const {
    const ComplexSpan<E> all = span_at<S>(spectrum_);
    for (int64_t k = 0; k < half_; ++k) {
      const Complex<S> a = load_at<S>(span_at<S>(first), k), b = load_at<S>(span_at<S>(second), k);
      store_at<S>(all, k, plus_i<S>(a, b));
      if (k && 2 * k < w_.size) store_at<S>(all, w_.size - k, {S::add(a.re, b.im), S::sub(b.re, a.im)});
    }
  }

  const FourierAxis &h_, &w_;
  const Fourier<S> along_h_, along_w_;
  const int64_t half_;
  E *data_ = nullptr, *stage_ = nullptr, *spectrum_ = nullptr, *scratch_ = nullptr;
};

}  // namespace
