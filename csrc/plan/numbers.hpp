// The numbers that steer the plan, in bytes, elements, rows or multiply-adds as their names say. Each stands here with
// what it was measured on.
#pragma once
#include <cstdint>

namespace depthwise {

// Packed rows of a unit stay in the first-level cache's neighbourhood.
constexpr int64_t packed_bytes = 192 << 10;
// What a thread may take at most beyond the output and the weights is 1 MiB. Of that, this is for packed pixels, and
// this for all that a planar kernel keeps.
constexpr int64_t most_packed_bytes = 640 << 10, most_scratch_bytes = 960 << 10;
// Columns of a row that are taken at once where nothing is packed: ten rows of them fit 48 KiB.
constexpr int64_t direct_strip = 1024, staged_strip = 256;
// What one tile of columns and its weights may take for all channels before it is done for one vector of channels after
// another: then what the next row needs again is still in the first-level cache.
constexpr int64_t first_cache_bytes = 32 << 10;
// But not where a large image streams by and there is little to do for each pixel: slices of pixels are poor traffic
// (AVX-512, Xeon of the fourth generation, 32x240x28x28 with 5x5: 6.2 ms by pixels, 8.6 by rows; 32x96x56x56 with 7x7:
// 20 by pixels, 12.8 by rows), nor where pixels lie a power of two apart: slices of them fill but a few places of the
// cache (AVX-512, EPYC of the fifth generation: input gradient of 256x28x28 with 3x3, stride 2, 58 us by rows, 28 by
// pixels).
constexpr double second_cache_bytes = 2 << 20;
constexpr int64_t many_taps = 25;
// Pixels a power of two apart are copied together for a kernel of so many taps (AVX-512, EPYC of the fifth generation,
// one thread: 128x56x56 with 31x31 4.9 ms as they lie and 3.1 copied, 1024x7x7 with 13x13 144 us and 73; but 512x56x56
// with 3x3 0.56 ms and 0.93, 32x384x14x14 with 7x7 1.8 and 2.1).
constexpr int64_t crowding_taps = 64, few_places = 8, ways = 8, way_bytes = 4096;
// Planes of another dtype are converted together while they stay in the second-level cache.
constexpr int64_t converted_bytes = 128 << 10, most_converted_bytes = 512 << 10;
// Output rows that share their input rows while these are in the first-level cache. Arrays that no cache holds are
// walked row by row, as they lie, if the second-level cache holds the rows that the next one needs again (AVX2, EPYC of
// the second generation, one thread: 16x32x112x112 with 3x3 8.0 ms in bands of 16 rows, 5.0 in rows; AVX-512, EPYC of
// the fifth: 32x96x56x56 with 7x7 12.4 and 7.2, but 1x96x202x201 with 9x1 1.5 and 2.0).
constexpr int64_t band_rows = 16;
constexpr double last_cache_bytes = 20 << 20;
constexpr int64_t window_bytes = 512 << 10;
// Fetching ahead costs a fifth where a cache holds the arrays (AVX-512, EPYC of the fourth generation, one thread,
// channels last, 3x3: 128x56x56 101 us with and 82 without, 512x56x56 844 and 702; but 88x128x256 1.2 ms and 2.1).
constexpr double fetched_bytes = 14 << 20;
// Where planes are taken apart into bands and strips to be packed for channel lanes: rows are cut last, since eight or
// sixteen short pieces of rows are poor traffic (AVX2, EPYC of the second generation, 3x3 on 128x256 planes: 10.6 ms in
// strips of 32 columns, 5.5 in whole rows).
constexpr int64_t least_band = 8, least_strip = 32, wide_strip = 256;
// On targets that cannot mask products, a planar weight gradient is transposed for channel lanes where rows are no
// longer than this and than eight vectors, or strided: at the rows' ends they take one column of taps at a time (AVX2,
// EPYC of the second generation, one thread, 3x3: 512x14x14 216 us by columns, 103 by channels; 128x56x56 350 and 287).
constexpr int64_t transposed_width = 64;
// What it costs to bring an element of planar memory into channel order, or back, in multiply-adds (AVX-512, EPYC of
// the fourth generation, one thread: 512x14x14 with 3x3 36 us in channel order, 23 by columns; with 27x27 430 and 950;
// 384x14x14 with 7x7 67 and 73; 960x7x7 with 5x5 30 and 28). Twice as much where no cache holds the arrays
// (32x384x14x14 with 7x7: 3.5 ms and 2.4).
constexpr double transposing_cost = 5;
// Outputs that no cache holds are staged by the tile and stored past the caches where a plane, or a pixel, is so large
// and so small (AVX-512, EPYC of the fourth generation, one thread, 3x3: 88x128x256 1.6 ms into the caches and 0.8 past
// them, 64x300x300 channels last 3.5 and 1.9; but 512x56x56, which a cache holds, 0.35 and 0.60).
constexpr int64_t least_staged_bytes = 8 << 10, widest_staged_bytes = 4 << 10;
// Rows of gy that one part of a weight gradient takes at a time, and the shares of work that there are at least where
// the problem has them: fixed, because the order of summation hangs on them.
constexpr int64_t gradient_band = 8, gradient_units = 16;
// A band of channels-last images that a second-level cache holds is walked for one vector of channels after another;
// then neighbouring tiles find their common columns in the first (AVX-512, EPYC of the fifth generation, one thread:
// 32x240x28x28 with 5x5 5.4 and 3.8 ms, 32x96x56x56 with 7x7 10.1 and 7.9). Where it does not, slices of pixels are
// poor traffic (1x32x257x257 with 3x3: 0.39 ms by tiles, 0.51 by vectors).
constexpr int64_t band_bytes = 1 << 20;
// A channels-last weight gradient is walked row by row, the next row being fetched meanwhile, where a vector of
// channels after another would be slices of far memory (AVX-512, EPYC of the fourth generation, one thread, 3x3, before
// and after: 88x128x256 2.5 and 1.5 ms, 16x128x56x56 5.4 and 3.8, 32x257x257 0.98 and 0.60).
constexpr double sliced_bytes = 8 << 20;
// Running sums of one unit of a weight gradient.
constexpr int64_t sums_bytes = 24 << 10;
// A second thread costs a few microseconds; below this much work one is faster.
constexpr double serial_flop = 4e5;

}  // namespace depthwise
