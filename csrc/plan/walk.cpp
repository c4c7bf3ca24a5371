// How memory is walked and work is shared out: the only place of the plan that knows the machine's caches and the
// number of threads. NO BIT OF A RESULT MAY HANG ON WHAT IS DECIDED HERE.
#include <algorithm>

#include "jobs.hpp"

namespace depthwise {
namespace {

constexpr int units_a_thread = 4;  // so that none waits long for another

// Planes of the output, of one channel.
int64_t planes_of(const Correlation& job) { return job.batch * job.lattice.depth_outs; }

double of(double share, int64_t cache) { return share * static_cast<double>(cache); }

// Whether no cache holds the arrays, on a machine whose caches are better left alone then.
bool passes_caches(const Facts& f, const Machine& m) {
  return m.spares_caches && f.bytes > of(numbers.machine.streamed_share, m.last_cache);
}

// Such arrays are walked row by row where the next row finds what it needs again.
bool streams(const Facts& f, const Machine& m) {
  const int64_t window = extent(f.p.h, f.gradient, 1) * f.read_width() * f.out_channels() * f.item;
  return passes_caches(f, m) && static_cast<double>(window) <= of(numbers.machine.window_share, m.second_cache);
}

// Output rows that share their input rows, but a share of work for every thread.
int64_t rows_of_band(const Correlation& job, int threads) {
  if (job.streams) return 1;
  const int64_t units_wanted = threads > 1 ? units_a_thread * threads : 1;
  const int64_t phase_outs = ceil_div(job.out.cross_size, cross_out_step(job.lattice));
  return std::clamp<int64_t>(planes_of(job) * phase_outs / units_wanted, 1, numbers.machine.band_rows);
}

// As many as fit when they are converted together.
int64_t most_rows_converted(const Facts& f, const Correlation& job) {
  int64_t rows = std::min(job.out.cross_size, numbers.machine.band_rows * cross_out_step(job.lattice));
  const auto bytes = [&] { return converted_band_bytes(f, rows) * job.group / std::max<int64_t>(1, f.vectors()); };
  while (rows > 1 && bytes() > numbers.fixed.most_converted_bytes) rows = ceil_div(rows, 2);
  return std::max<int64_t>(1, rows);
}

// Vectors of channels whose tile of columns is taken down a band before that of the next: all, or as few as leave in
// half a first-level cache what the next row needs again, whole lines of the cache.
int64_t vectors_taken_down(const Facts& f, const Correlation& job, const Machine& m, bool copied = false) {
  const int64_t planes = job.lattice.max_depth_taps, taps = planes * f.p.h.kernel * f.p.w.kernel;
  const int64_t pixels = planes * (f.k.most_columns + f.p.w.kernel - 1) * f.p.h.kernel;
  const double vector_bytes = static_cast<double>((pixels + taps) * f.N * f.item),
               cache = of(numbers.machine.tile_share, m.first_cache);
  if (static_cast<double>(job.group) * vector_bytes <= cache) return job.group;
  if (f.p.h.stride > (f.p.h.kernel - 1) * f.p.h.dilate) return job.group;  // nothing is needed again
  const bool few_places = places_of_pixels(job.in.line, f.item) < numbers.machine.few_places;
  const bool large = f.bytes >= of(numbers.machine.sliced_share, m.second_cache);
  if (!copied && ((job.in.direct && few_places) || (taps <= numbers.machine.many_taps && large))) return job.group;
  // A copy need not leave room for what streams by, and has whole rows of few vectors.
  const auto fit = static_cast<int64_t>((copied ? 1 : 0.5) * cache / vector_bytes);
  if (copied && fit < numbers.machine.least_taken_down) return job.group;
  const int64_t line = std::max<int64_t>(1, cache_line / (f.N * f.item));
  return std::min(job.group, std::max<int64_t>(1, fit / line) * line);
}

// Vectors of channels that are converted together: whole lines of the cache, nearly equally many, and few, lest rows of
// them fill a second-level cache.
int64_t vectors_converted(const Facts& f) {
  const int64_t vectors = std::max<int64_t>(1, f.vectors()), line = std::max<int64_t>(1, cache_line / (f.N * f.item));
  const int64_t groups = ceil_div(vectors, numbers.machine.converted_group);
  return std::min(vectors, ceil_div(ceil_div(vectors, groups), line) * line);
}

// Vectors of channels that are packed together: what stands before a tile's first sum is done once for all of them.
int64_t vectors_packed(const Facts& f, const Machine& m, const Correlation& job) {
  const int64_t read = job.in.direct ? 0 : job.planes_summed() * job.rows_packed * job.columns_packed;
  const int64_t pixels = read + (job.out.direct ? 0 : job.band * job.strip);
  const double most =
      std::min(of(numbers.machine.packed_share, m.second_cache), static_cast<double>(numbers.fixed.most_packed_bytes));
  const double fit = most / static_cast<double>(std::max<int64_t>(1, pixels * f.N * f.item));
  return std::clamp<int64_t>(static_cast<int64_t>(fit), 1, job.group);
}

// Vectors of channels of a unit: all, unless there are more threads than bands.
int64_t vectors_of_unit(const Facts& f, const Correlation& job, int threads) {
  const int64_t vectors = ceil_div(job.out_channels, f.N);
  if (job.fold > 1) return std::max<int64_t>(1, vectors);  // whole pixels are staged
  const int64_t units = planes_of(job) * job.strips * job.bands;
  const int64_t wanted = threads > 1 && units ? ceil_div(units_a_thread * threads, units) : 1;
  return std::max<int64_t>(1, ceil_div(vectors, wanted));
}

// Whether a unit packs whole planes of the sums' type, which follow one another without a gap.
bool packs_dense_planes(const Facts& f, const Correlation& job) {
  const auto dense = [&](const Side& s) {
    return !s.direct && s.dtype == f.sums && s.line == 1 && s.cross == s.lines && s.channel == s.cross * s.cross_size;
  };
  return dense(job.in) && dense(job.out) && job.divide == 1 && job.sum == 1 && job.lattice.depth_outs == 1 &&
         job.strips == 1 && job.bands == 1;
}

// Output rows whose input and output a second-level cache holds beside those of the band before, but no fewer than a
// window has: it would be read too often.
int64_t rows_fetched(const Facts& f, const Machine& m, const Correlation& job) {
  const int64_t elements = (job.in.cross * job.in.cross_size + job.out.cross * job.out.cross_size) /
                           std::max<int64_t>(1, job.out.cross_size);
  const double fit = of(numbers.machine.fetched_band_share, m.second_cache) /
                     static_cast<double>(std::max<int64_t>(1, elements) * f.item);
  const int64_t step = cross_out_step(job.lattice);
  return std::max(ceil_div(f.p.h.kernel, step), static_cast<int64_t>(fit) / step) * step;
}

// Whether bands are rows of pixels that follow one another without a gap. Slices of them are poor traffic.
bool walks_dense_pixels(const Correlation& job) {
  const auto dense = [&](const Side& s) { return s.line == job.out_channels && s.cross == s.lines * s.line; };
  return dense(job.in) && dense(job.out) && job.divide == 1 && job.fold == 1 && job.groups == 1 && job.strips == 1 &&
         job.lattice.depth_outs == 1;
}

bool stages_pixels(const Facts& f, const Correlation& job) {
  return job.streams && job.fold == 1 && tiles_are_whole(job.lattice) && job.groups == 1 &&
         job.in.line == job.out_channels && job.out.line == job.out_channels &&
         job.out_channels * f.item <= numbers.machine.widest_staged_bytes;
}

// Whether planes are so large that what follows is fetched ahead, and their rows so short that hardware does not.
bool comes_from_afar(const Facts& f, const Machine& m) {
  return f.bytes > of(numbers.machine.fetched_share, m.second_cache) &&
         f.read_width() * f.item < numbers.machine.widest_fetched_bytes;
}

// Bytes of input to one vector of output, where dense planes are so large that they are fetched ahead; else 0.
int64_t fetched_ahead(const Facts& f, const Machine& m, const Correlation& job) {
  const bool dense = job.in.line == job.in.cross_size && job.out.line == job.out.cross_size;
  const bool in_place = job.in.direct && job.out.direct && !job.channels_together;
  if (!dense || !in_place || !comes_from_afar(f, m)) return 0;
  if (!job.out.lines || !job.out.cross_size) return 0;
  return std::max<int64_t>(1, job.in.lines / job.out.lines) *
         std::max<int64_t>(1, job.in.cross_size / job.out.cross_size) * f.N * f.item;
}

// Where a vector is a whole line of the cache: stored past the caches in halves, lines take as long as they do through
// them, or longer.
bool stages_planes(const Facts& f, const Machine& m, const Correlation& job) {
  const int64_t row = job.out.cross_size, rows = job.out.lines;
  return f.N * f.item == cache_line && job.out.direct && !job.channels_together && job.out.line == row &&
         job.strips == 1 && tiles_are_whole(job.lattice) && passes_caches(f, m) &&
         row * rows * f.item >= numbers.machine.least_staged_bytes;
}

}  // namespace

void walk_planar(const Facts& f, const Machine& m, int, Correlation& job) {
  job.fetch_bytes = fetched_ahead(f, m, job);
  job.non_temporal = stages_planes(f, m, job);
  job.out.direct = job.out.direct && !job.non_temporal;
}

void walk_channels_last(const Facts& f, const Machine& m, int threads, Correlation& job) {
  const bool in_place = job.in.direct && job.out.direct;
  job.streams = in_place && streams(f, m);
  if (in_place) job.band = std::min(job.band, rows_of_band(job, threads) * cross_out_step(job.lattice));
  job.bands = ceil_div(job.out.cross_size, job.band);
  // Pixels that crowd a first-level cache would be pushed out of it by those to come.
  job.fetches = f.bytes > of(numbers.machine.fetched_share, m.second_cache) && !pixels_crowd(f) &&
                (job.in.direct || job.out.direct);
  job.group = vectors_of_unit(f, job, threads);
  job.groups = ceil_div(ceil_div(job.out_channels, f.N), job.group);
  job.non_temporal = stages_pixels(f, job);
  job.paired =
      in_place && !spreads(job) && f.k.has_pairs && job.lattice.max_set_taps <= f.k.most_paired_taps && pixels_crowd(f);
  job.vectors_together = !in_place                          ? vectors_packed(f, m, job)
                         : job.non_temporal || job.fold > 1 ? job.group
                                                            : vectors_taken_down(f, job, m);
  // Hardware sees the order of larger planes by itself.
  job.fetches_planes = job.vectors_together > 1 && packs_dense_planes(f, job) &&
                       f.bytes > of(numbers.machine.fetched_planes_share, m.second_cache);
  job.fetches_bands = in_place && !job.streams && job.vectors_together < job.group && walks_dense_pixels(job) &&
                      f.bytes > of(numbers.machine.fetched_share, m.second_cache);
  if (job.fetches_bands) {
    job.band = std::min(job.band, rows_fetched(f, m, job));
    job.bands = ceil_div(job.out.cross_size, job.band);
  }
  job.units = planes_of(job) * job.strips * job.bands * job.groups;
}

void walk_sequence(const Facts&, const Machine&, int, Correlation&) {}
void walk_sequence(const Facts&, const Machine&, int, WeightGradient&) {}

// Bands so that every thread has some, of whole tiles of columns where there are enough.
void walk_sequence_pixels(const Facts& f, const Machine&, int threads, Correlation& job) {
  const int64_t units = std::max<int64_t>(1, job.batch * job.groups), dilation = f.p.w.dilate;
  const int64_t wanted = threads > 1 ? ceil_div(units_a_thread * threads, units) : 1;
  const int64_t columns = std::max<int64_t>(1, job.out.cross_size), tile = f.k.max_lines * dilation;
  job.band = std::min(job.band, ceil_div(ceil_div(columns, wanted), tile) * tile);
  job.bands = ceil_div(columns, job.band);
  job.units = job.batch * job.bands * job.groups;
}

void walk_converted_pixels(const Facts& f, const Machine& m, int threads, Correlation& job) {
  const int64_t bands_wanted =
      threads > 1 ? ceil_div(units_a_thread * threads, std::max<int64_t>(1, planes_of(job))) : 1;
  job.group = vectors_converted(f);
  job.groups = ceil_div(f.vectors(), job.group);
  job.band = std::clamp<int64_t>(ceil_div(job.out.cross_size, bands_wanted), 1, most_rows_converted(f, job));
  job.bands = ceil_div(job.out.cross_size, job.band);
  job.rows_packed =
      std::clamp<int64_t>(extent(f.p.h, f.gradient, job.band), 1, std::max<int64_t>(1, job.in.cross_size));
  job.planes_packed = planes_read(f);
  job.vectors_together = vectors_taken_down(f, job, m, true);
  job.units = planes_of(job) * job.strips * job.bands * job.groups;
}

void walk_planar(const Facts& f, const Machine& m, int, WeightGradient& job) {
  const bool dense = job.x.line == job.x.cross_size && job.g.line == job.g.cross_size;
  job.fetches = comes_from_afar(f, m) && dense && job.lattice.line_phase_count == 1 && !job.channels_together;
}

void walk_channels_last(const Facts& f, const Machine& m, int, WeightGradient& job) {
  job.fetches = job.g.direct && f.bytes > of(numbers.machine.fetched_share, m.second_cache);
}

int threads_for(const Facts& f, int64_t units, int most_threads) {
  const bool sums_gy = f.p.pass == Pass::weight_grad && f.p.b.data;
  const double additions = sums_gy ? f.bytes / static_cast<double>(item_bytes(f.p.y.dtype)) : 0;
  if (2 * f.products + additions < numbers.machine.serial_flop) return 1;
  return static_cast<int>(std::clamp<int64_t>(units, 1, most_threads));
}

}  // namespace depthwise
