#include "row_layout.hpp"

#include <algorithm>

namespace depthwise {
namespace {

// Packed rows lie an odd multiple of so many elements apart, at least a line of a cache: rows a power of two apart
// would push one another out of it.
constexpr int64_t spread = 16;

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }

}  // namespace

RowLayout::RowLayout(const LatticeView& lattice, int64_t strip, int64_t lanes, bool in_place)
    : place_(static_cast<size_t>(lattice.cross_tap_count)), step_(in_place ? 1 : lattice.cross_in_step) {
  const int64_t columns = strip * (lattice.cross_in_step / step_), apart = step_ == 2 ? 1 : step_;
  struct Read {
    int64_t residue, shift, tap;
  };
  std::vector<Read> reads;
  reads.reserve(static_cast<size_t>(lattice.cross_tap_count));
  for (int64_t i = 0; i < lattice.cross_tap_count; ++i) {
    const int64_t shift = floor_div(lattice.cross_taps[i].in0, step_);
    reads.push_back({lattice.cross_taps[i].in0 - shift * step_, shift, i});
  }
  // A step of two has its residues side by side, so they do not tell segments apart.
  const auto key = [apart](const Read& r) { return apart == 1 ? 0 : r.residue; };
  std::sort(reads.begin(), reads.end(),
            [&](const Read& a, const Read& b) { return key(a) != key(b) ? key(a) < key(b) : a.shift < b.shift; });
  struct Span {
    size_t reads_begin, reads_end;
    int64_t columns;
  };
  std::vector<Span> spans;
  for (size_t i = 0, next; i < reads.size(); i = next) {
    int64_t end = reads[i].shift + columns;
    for (next = i + 1; next < reads.size() && key(reads[next]) == key(reads[i]) && reads[next].shift <= end; ++next)
      end = reads[next].shift + columns;
    spans.push_back({i, next, end - reads[i].shift});
  }
  const auto first_column = [&](const Span& s) {
    return reads[s.reads_begin].shift * step_ + (step_ == 2 ? 0 : reads[s.reads_begin].residue);
  };
  std::sort(spans.begin(), spans.end(),
            [&](const Span& a, const Span& b) { return first_column(a) < first_column(b); });
  for (const Span& span : spans) {
    const auto segment = segments_.size();
    const Read& first = reads[span.reads_begin];
    add(step_ == 2 ? 0 : first.residue, first.shift, span.columns, lanes);
    if (step_ == 2) add(1, first.shift, span.columns, lanes);
    for (size_t i = span.reads_begin; i < span.reads_end; ++i) {
      const Segment& s = segments_[segment + static_cast<size_t>(step_ == 2 ? reads[i].residue : 0)];
      place_[static_cast<size_t>(reads[i].tap)] = s.at + reads[i].shift - s.shift;
    }
  }
  if (elements_) elements_ = (elements_ + spread - 1) / (2 * spread) * (2 * spread) + spread;
  for (size_t i = spans.size(); step_ > 2 && i-- > 1;)
    if (first_column(spans[i]) == first_column(spans[i - 1]) + 1 && segments_[i].length == segments_[i - 1].length)
      segments_[i - 1].neighbours = segments_[i].neighbours + 1;
}

// Whole vectors are stored: the last may reach a vector's length beyond the columns.
void RowLayout::add(int64_t residue, int64_t shift, int64_t columns, int64_t lanes) {
  const int64_t length = ceil_div(columns, lanes) * lanes + lanes;
  segments_.push_back({residue, shift, length, elements_});
  elements_ += length;
}

RowLayoutView RowLayout::view() const {
  RowLayoutView v{segments_.data(), static_cast<int64_t>(segments_.size()), 0, place_.data(), step_, elements_};
  for (const Segment& s : segments_) v.longest = std::max(v.longest, s.length);
  return v;
}

}  // namespace depthwise
