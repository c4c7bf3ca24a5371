// The numbers that steer the plan, each with its unit, its reason and what it was measured on. Two kinds:
//
//   fixed    bits hang on it: they are decided from the shapes and the target alone, so these are the same on every
//            machine. Where one stands for a cache it is a typical machine's.
//   machine  no bit hangs on it: how memory is walked. Sizes are shares of the caches that machine.hpp has found.
//
// "Multiply-adds" are those of one vector. `python benchmarks/tune.py` measures every number again.
#pragma once
#include <cstdint>
#include <vector>

namespace depthwise {

struct FixedNumbers {
  // Choice of lanes and kernel (candidates.cpp).

  // Multiply-adds that it takes to bring a vector's worth of planar memory into channel order, or back, for each 16
  // bytes of the vector, which are loaded and stored as one, two at least and three at most, or four for a weight
  // gradient; and of a weight gradient on targets that cannot mask products at no cost (AVX-512, EPYC of the fourth
  // generation, one thread: 512x14x14 with 3x3 36 us in channel order, 23 by columns; with 27x27 430 and 950; Xeon of
  // the second: 384x14x14 with 7x7 143 and 159, 768x7x7 97 and 124, 1024x26x26 2930 and 4180, 4x672x14x14 with 5x5 1500
  // and 1210, 960x7x7 74 and 72; weight gradients of 768x8x8 with 3x3 and stride two 207 and 102.
  // AVX2, EPYC of the third generation: 512x14x14 with 3x3 61 and 53, 384x14x14 with 7x7 128 and 132, 72x56x56 with 5x5
  // and stride two 133 and 166; weight gradients of 960x7x7 with 5x5 70 and 90, of 256x28x28 with 3x3 168 and 107).
  // Twice as much where no cache holds the arrays (AVX-512, 32x384x14x14 with 7x7: 3.5 ms and 2.4), which is so from
  // `uncached_bytes` on.
  double transposing_cost = 2, transposing_products_cost = 3;
  // Vectors of multiply-adds that a plane takes by columns beside its sums, most of what the smallest take (AVX-512,
  // Xeon of the second generation, one thread, 3x3, by columns and in channel order, us: 16x384x4x4 292 and 166,
  // 4x1024x3x3 with multiplier 3 4102 and 1222, 1024x5x5 70 and 61; but 4x1024x7x7 271 and 299. AVX2: input gradient of
  // 16x512x8x8 with stride two 671 and 512, 1024x5x5 71 and 73).
  double plane_cost = 8;
  double uncached_bytes = 20 << 20;
  // Times the multiply-adds of use that a transposed line takes whose columns, of x and y, are more than so many: too
  // long for several vectors of channels to be packed together, which share what each tile of columns is summed over
  // (AVX2, EPYC of the third generation, one thread, transposed and as lines, us: 96x1018 with 31 taps and stride two,
  // input gradient, 265 and 135; 16x24x1978 with 65 taps and stride 4, input gradient, 2440 and 1954; but 1024x472 with
  // 31 taps and stride two 493 and 607, 1024x172 with 31 taps 300 and 457).
  double listed_line_cost = 1.5;
  int64_t widest_shared_line = 1000;
  // Multiply-adds that it takes to convert or copy a vector's worth of what cannot be read in place (AVX2, one thread,
  // what could be read in place packed: 32x56x56 with 3x3 77 us in place of 66 by columns, 60 in place of 38 by
  // channels; 64x28x28 with 5x5 80 in place of 49, and 65 in place of 45).
  double packing_cost = 2;
  // Times the multiply-adds of use that rows take whose neighbours lie apart, channels being closest in memory, for
  // each plane that an output sums: more than lanes along the channels, of which half may be idle.
  double gathering_cost = 2.1;
  // Multiply-adds that it takes to store a vector of columns to as many pixels (AVX2, EPYC of the fourth generation,
  // one thread, input gradient of 8x64x28x28 with 3x3, gy planar: 190 us where gx is, too; where it is channels last
  // 670 by columns and 231 by channels).
  double scattering_cost = 28;
  // Multiply-adds that it takes to pack a vector's worth of planar rows whose elements of use lie apart, half as many
  // where but the view of an array has put them apart, and for each row beside that (the same machine, forward, 3x3, by
  // columns and by channels: 64x56x56 with stride 3 140 us and 55, with stride 8 35 and 16, 256x14x14 with stride 3 149
  // and 26, 32x224x224 with stride 3 589 and 362; every other column of 64x112x224 581 and 667, of 64x14x28 34 and 16).
  double apart_cost = 7, apart_row_cost = 53;
  // Multiply-adds that it takes to write a vector of columns that lie a stride apart, an input gradient's of three and
  // more (AVX2, EPYC of the fourth generation, one thread, by columns and by channels, us: 1024x59x59 with 3x3 and
  // stride 3 5417 and 1330, 384x112x112 with 3x3 and stride 4 5537 and 1697, 192x8x112 with 15x15 and stride 3 471 and
  // 189, 16x32x1782 with 3 taps and stride 3 2240 and 1011).
  double written_apart_cost = 30;
  // Times the multiply-adds of use that planar rows take under a stride of two, forward and input gradient (the same
  // machine, by columns and by channels, us: 96x134x134 with 9x9 forward 1732 and 1358, 2x192x102x102 with 7x7 input
  // gradient 3894 and 2816, 16x24x28x28 with 7x7 and multiplier 2 input gradient 506 and 321; EPYC of the third
  // generation, input gradients of 8x240x7x7 with 3x3 109 and 67, of 2x144x53x53 with 5x5 520 and 349).
  double pairs_cost = 1.4, interleaved_cost = 1.65;
  // Times the multiply-adds of use that the kernels for lines take with lanes along the channels; tiles take them once
  // (the same machine, us, by lines and by tiles: 16x256 channels of 15 columns with 7 taps 48 and 17, 8x64x674 with 4
  // 108 and 81, 16x1024x56 with 3 293 and 191, 768x158 with 9 48 and 35).
  double pixel_line_cost = 1.4;
  // Times the multiply-adds of use that a single row takes as an image: summed by chains of one vector where taps reach
  // beside it, else as a stack.
  double chains_cost = 2.5, stack_cost = 1.7;
  // ... and that a weight gradient of such rows, or an input gradient of a stride, takes so (AVX2, EPYC of the fourth
  // generation, one thread, float32, as images and by the kernels for lines, us: 16x1024 rows of 56 with 3 taps 1028
  // and 213, 16x2x9024 963 and 53; 1x1024x909 with stride 2 358 and 206).
  double lone_cost = 4;
  // Of an image of one line: multiply-adds that a row takes before its first sum as an image, and transposed (shared by
  // a vector of rows); of a weight gradient transposed; and that these take before the first row (the same machine, 1x2
  // rows of 108 with 9 taps: 1.8 us as an image, 1.6 transposed and 0.3 by the kernels for lines).
  double row_cost = 14, line_cost = 250, transposed_row_cost = 60, first_row_cost = 3500, first_pixel_cost = 1000;
  // Times the multiply-adds of use that such a weight gradient's sums take (8x96 rows of 103 with 65 taps 354 us).
  double transposed_sums_cost = 1.4;
  // The same by the kernels for lines, of few taps and of many, and a weight gradient's for each tap, whose sums at a
  // row's ends are masked (the same machine, us: 16x1024 rows of 56 with 3 taps 248, as an image 401 and transposed
  // 835; 4x24 rows of 29 with 9 taps 9.3, 5.7 and 3.2).
  double few_taps_cost = 25, many_taps_cost = 200, ends_cost = 4;
  // Multiply-adds that it takes to copy a row of outputs a stride apart, and each vector of it; to write a vector to
  // every so many columns (the same machine, 1x1024x909 with 3 taps and stride 2: 217 us, packed for tiles 449 and
  // transposed 493).
  double apart_line_cost = 120, apart_vector_cost = 2.5, scattered_cost = 5;
  // A weight gradient of planar memory on targets that cannot mask products at no cost: by columns it takes so many
  // times the multiply-adds of all lanes, idle ones too, and so many more under a stride; by channels so many times
  // those of use, and transposing_cost (AVX2, EPYC of the fourth generation, one thread, by columns and by channels,
  // us: 128x56x56 with 3x3 112 and 259, 512x14x14 34 and 62, 1024x7x7 24 and 46; 240x28x28 with 5x5 179 and 241,
  // 960x7x7 74 and 70; 192x28x28 with 7x7 249 and 369, 32x768x7x7 4400 and 3600; 1024x7x7 with 13x13 456 and 335;
  // 64x28x28 with 31x31 1030 and 1560; 128x56x56 with stride 2 66 and 131, 48x56x56 with 7x7 and stride 2 106 and 119).
  double idle_cost = 1.5, strided_cost = 0.5, transposed_cost = 1.4;
  // Pixels a power of two apart are copied together for a kernel of so many taps (AVX-512, EPYC of the fifth
  // generation, one thread: 128x56x56 with 31x31 4.9 ms as they lie and 3.1 copied, 1024x7x7 with 13x13 144 us and 73;
  // but 512x56x56 with 3x3 0.56 ms and 0.93, 32x384x14x14 with 7x7 1.8 and 2.1), if they are more than fill the ways,
  // each of so many bytes, of a first-level cache. Those of a weight gradient are copied for any kernel, where they are
  // not so many that slices of pixels would come from far memory (AVX2, EPYC of the fourth generation, one thread, 3x3,
  // as they lie and copied: 1024x7x7 71 us and 36, 512x56x56 2.4 ms and 1.2; 48x64x64 with 7x7 546 us and 353; but
  // 256x124x124 3.4 ms and 7.2).
  int64_t crowding_taps = 64, ways = 8, way_bytes = 4096;
  // Where a vector is less than a line of the cache, pixels that crowd it more than so are copied whatever the kernel
  // (crowding_of_pixels in facts.hpp), but larger arrays than these, in bytes, are left to pairs of vectors (AVX2, EPYC
  // of the fourth generation, one thread, float32, as they lie, in pairs and copied, us: 512x14x14 with 3x3 78, 45 and
  // 38, 512x28x28 467, 187 and 156, 512x56x56 1400, 762 and 870, 256x56x56 337, 274 and 333, 1024x7x7 85, 35 and 22; as
  // they lie and copied: 512x14x14 with 5x5 156 and 76, with 7x7 412 and 139, 128x56x56 with 7x7 744 and 596, but with
  // 5x5 325 and 346).
  double most_crowding = 1.5, least_paired_bytes = 4 << 20;

  // Planar rows are copied where a tile of them, of those read for so many taps down the columns and those written, has
  // more lines in one place of the ways than fit: so many of those beyond, times the taps for each element (AVX2, EPYC
  // of the fourth generation, one thread, float32, 2x128 rows, as they lie and copied, ns for each output: 1024 columns
  // with 1x3 0.77 and 0.41, 3x3 1.44 and 0.58, 7x7 5.4 and 1.7, 3x3 and stride 2 1.49 and 1.76; 512 columns with 3x3
  // 0.57 and 0.62, 7x7 2.1 and 1.7; 1008 columns with 3x3 0.44 and 0.64). Of a weight gradient, which stores nothing
  // meanwhile (1024 columns with 1x3 0.74 and 0.58, 3x3 1.23 and 0.81, 3x3 and stride 2 2.1 and 1.5; 512 columns with
  // 3x3 0.60 and 0.70, beside an x in the same places 1.03 and 0.69).
  int64_t crowding_chunk = 3;
  double crowding_rows = 26, crowding_products = 15;
  // ... and sums are staged, too, where a chunk of taps down the columns has few products for each time that it loads
  // and stores them: so many times the taps along the rows (the same with 2048 columns: 31x1 2.15 stored as they are
  // summed and 1.77 staged, 15x3 1.60 and 1.75).
  int64_t staged_taps = 6;

  // Multiply-adds that Fourier transforms take: a pass of radix 2 to 5 for each number, a row of a plane's vectors, and
  // what is worked out before the first (AVX2, EPYC of the fourth generation, one thread, fitted to 200 problems with
  // kernels of 5 to 51 taps a side on planes of 7 to 512).
  double radix_2_cost = 8, radix_3_cost = 8.5, radix_4_cost = 11, radix_5_cost = 13.5, plane_row_cost = 200;
  double first_transform_cost = 12000;
  // What a thread may take for spectra.
  int64_t most_spectral_bytes = 8 << 20;

  // Scratch memory, in bytes.

  // Packed rows of a unit stay in the first-level cache's neighbourhood.
  int64_t packed_bytes = 192 << 10;
  // What a thread may take at most beyond the output and the weights is 1 MiB. Of that, this is for packed pixels, and
  // this for all that a planar kernel keeps.
  int64_t most_packed_bytes = 640 << 10, most_scratch_bytes = 960 << 10;
  // Planes of another dtype are converted together while they stay in the second-level cache.
  int64_t converted_bytes = 128 << 10, most_converted_bytes = 512 << 10;

  // Strips, in columns, and bands, in rows.

  // Columns of a row that are taken at once where nothing is packed, fewer where the rows that a tile of them shares
  // with the next would be more bytes than so (AVX2, EPYC of the third generation, one thread, float32, by 1024 columns
  // and by 8192, ns for each output: 3x2000x4000 with 3x3 0.93 and 0.52, 1x4000x6000 0.82 and 0.54, 1x1000x6000 with
  // 7x7 2.29 and 2.01, with 31x1 by 8192 and by 4096 1.64 and 1.37), and where something is.
  int64_t direct_strip = 8192, shared_rows_bytes = 512 << 10, staged_strip = 256;
  // Columns of an image of one line that a unit takes, and between the first and the last tap that it may have: what is
  // copied of a row stays in a first-level cache, or near it.
  int64_t line_strip = 2048, widest_window = 8192;
  // The largest stride of such an image that lanes along the columns take: a row is copied apart.
  int64_t widest_stride = 8;
  // Vectors of channels of a weight gradient of one line that a unit sums at least: less would be slices of pixels.
  int64_t least_line_group = 32;
  // Vectors of channels, and columns, that are copied together where their lines crowd a cache (AVX2, EPYC of the
  // fourth generation, one thread, float32, before and after: 1024 channels of 500 columns with 31 taps 1.36 ms and
  // 0.61, of 1000 with 9 taps 1.7 and 0.60; with 4 taps a copy gains nothing), and the widest that lie between taps
  // then.
  int64_t staged_line_group = 32, staged_lines = 256, widest_staged_lines = 1024;
  // Where planes are taken apart into bands and strips to be packed for channel lanes: rows are cut last, since eight
  // or sixteen short pieces of rows are poor traffic (AVX2, EPYC of the second generation, 3x3 on 128x256 planes: 10.6
  // ms in strips of 32 columns, 5.5 in whole rows).
  int64_t least_band = 8, least_strip = 32, wide_strip = 256;

  // Order of a weight gradient's sums.

  // Rows of gy that one part takes at a time, and the shares of work that there are at least where the problem has
  // them; about so many where lanes hold channels.
  int64_t gradient_band = 8, gradient_units = 16;
  // Pixels of a share at least where lanes hold channels (AVX2, EPYC of the fourth generation, one thread, float32, 1,
  // 128 and 512, us: 16x512x8x8 with 3x3 421, 300 and 272, 32x960x7x7 809, 806 and 774, 4x240x14x14 with 5x5 168, 170
  // and 132).
  int64_t gradient_pixels = 512;
  // Bytes of the running sums of one unit.
  int64_t sums_bytes = 24 << 10;
  // Columns of a band of channels-last images that are summed before their neighbours, fewer where so many crowd a
  // first-level cache, in which they should stay for the next taps and the next vector of channels (AVX2, EPYC of the
  // fourth generation, one thread, float32, 8, 16 and 32 columns, us: 240x28x28 with 5x5 174, 152 and 138, 32x112x112
  // with 3x3 163, 157 and 150; 8 and 32: 64x112x112 with 3x3, stride 2, 157 and 183).
  int64_t gradient_columns = 32, fewest_gradient_columns = 8;
};

struct MachineNumbers {
  // What one tile of columns and its weights may take for all channels, in first-level caches, before it is done for
  // one vector of channels after another: then what the next row needs again is still there.
  double tile_share = 1;
  // But not where a large image streams by, in second-level caches, and there is little to do for each pixel, in taps:
  // slices of pixels are poor traffic (AVX-512, Xeon of the fourth generation, 32x240x28x28 with 5x5: 6.2 ms by pixels,
  // 8.6 by rows; 32x96x56x56 with 7x7: 20 by pixels, 12.8 by rows), nor where pixels lie so that slices of them fill
  // but so few places of the cache (AVX-512, EPYC of the fifth generation: input gradient of 256x28x28 with 3x3, stride
  // 2, 58 us by rows, 28 by pixels).
  double sliced_share = 2;
  int64_t many_taps = 25, few_places = 8;
  // Vectors of channels whose rows are converted together, and of which one after another is only taken down them if
  // so many fit (AVX2, EPYC of the fourth generation, one thread, float32: 512x14x14 with 27x27 840 us all together,
  // 961 by twos, but 256x28x28 with 7x7 290 and 262 by sixes).
  int64_t converted_group = 16, least_taken_down = 4;
  // Rows that share their input rows while these are in the first-level cache.
  int64_t band_rows = 16;
  // What vectors of channels may take that are packed together, in second-level caches (AVX2, EPYC of the third
  // generation, 512 KiB, one thread, float32, one vector after another, and so, us: 384x14x14 with 7x7 185 and 135,
  // 960x7x7 with 5x5 68 and 52, 512x14x14 with 3x3 72 and 61).
  double packed_share = 0.125;
  // Arrays that no cache holds, in last-level caches, are walked row by row, as they lie, if the second-level cache
  // holds the rows that the next one needs again, which may take so much of it (AVX2, EPYC of the second generation,
  // one thread: 16x32x112x112 with 3x3 8.0 ms in bands of 16 rows, 5.0 in rows; AVX-512, EPYC of the fifth:
  // 32x96x56x56 with 7x7 12.4 and 7.2, but 1x96x202x201 with 9x1 1.5 and 2.0).
  double streamed_share = 0.625, window_share = 0.5;
  // What follows is fetched ahead where arrays take so many second-level caches. Out of memory they take down
  // to half the time, planes out of a last-level cache too; there wide pixels take up to an eighth more
  // (AVX2, EPYC of the fourth generation, one thread, float32, forward, without and with: planes of 144x128x128 with
  // 5x5 and stride two 1332 us and 604 from memory, 800 and 401 from the cache, 128x56x56 with 3x3 231 and 152, 84 and
  // 91; pixels of 128x56x56 312 and 212, 95 and 99, of 512x56x56 998 and 972, 688 and 781).
  double fetched_share = 2;
  // But rows as long as this hardware fetches by itself (AVX2, EPYC of the third generation, one thread, float32, with
  // and without, ns for each output: 3x2000x3000 with 3x3 0.63 and 0.47, 1x4000x6000 0.54 and 0.49, its weight gradient
  // 0.84 and 0.71; but 3x2048x2032 0.53 and 0.62).
  int64_t widest_fetched_bytes = 8 << 10;
  // ... and planar memory that is brought into channel order (AVX2, EPYC of the third generation, one thread, forward,
  // without and with, us: 32x384x14x14 with 7x7 4359 and 3463, 32x768x7x7 1858 and 1809, its input gradient 2260 and
  // 1934; but 16x128x14x14 with 3x3 193 and 201).
  double fetched_planes_share = 8;
  // ... and the band of pixels after the one that is taken in slices, as large as so much of a second-level cache (Xeon
  // of the second generation, 1 MiB, one thread, without and with, ms, AVX-512: 32x384x14x14 with 7x7 14.4 and 10.0,
  // 8x96x56x56 10.9 and 7.4, 4x64x64x64 with stride two 1.51 and 1.08; AVX2: 13.9 and 12.8, 13.9 and 9.6).
  double fetched_band_share = 0.25;
  // Outputs that no cache holds are staged by the tile and stored past the caches where a plane is so large, and a
  // pixel so small, in bytes (AVX-512, EPYC of the fourth generation, one thread, 3x3: 88x128x256 1.6 ms into the
  // caches and 0.8 past them, 64x300x300 channels last 3.5 and 1.9; but 512x56x56, which a cache holds, 0.35 and 0.60).
  // Planes of AVX2's shorter vectors are not (EPYC of the third generation, one thread, into the caches and past them,
  // ms: 16x64x112x112 with 3x3 5.6 and 7.3, 32x96x56x56 4.7 and 6.9, 8x144x75x75 3.0 and 6.2, 480x75x75 with 5x5 2.1
  // and 3.9, 64x512x512 with 3x3 11.6 and 12.0), pixels are (channels last, 32x96x56x56 with 3x3 7.0 and 5.1).
  int64_t least_staged_bytes = 8 << 10, widest_staged_bytes = 4 << 10;
  // A second thread costs a few microseconds; below so many operations one is faster.
  double serial_flop = 4e5;
};

struct Numbers {
  FixedNumbers fixed;
  MachineNumbers machine;
};

// What every plan reads. Nothing but benchmarks/tune.py and tests writes it, while no plan is made.
inline constinit Numbers numbers;

struct NamedNumber {
  const char* name;
  bool fixed;
  double value;
};
std::vector<NamedNumber> all_numbers();

// False where no number has this name.
bool set_number(const char* name, double value);

}  // namespace depthwise
