// A thread's tile: what a plan's passes share in choosing one, and in telling a compiler of it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "../problem.hpp"
#include "parameters.cuh"

namespace depthwise::cuda {

constexpr int64_t most_of_an_axis = int64_t{1} << 30;     // counted in 32 bits, with room for a tile beyond the end
constexpr int64_t most_threads = (int64_t{1} << 31) - 1;  // of a launch
constexpr int most_taps_of_a_line = 32;                   // of a chunk of a long kernel
constexpr int most_lines = 512;                           // of a tile: loops that a compiler unrolls
constexpr int block = 128;                                // threads
constexpr int shared_lanes = 64;                          // most columns of a row that neighbouring threads have
constexpr int most_kept = 84;                             // registers for weights and for sums with them

// Sizes of a tile and of a chunk of taps, and how memory is read and written.
struct Tile {
  bool tiled = true;
  int64_t rows = 1, cols = 1, tap_rows = 1, tap_cols = 1, spread = 0;
  int64_t read_vector = 1, read_shift = 0, written_vector = 1;
  bool pair = false;

  int64_t channels() const { return pair ? 2 : 1; }  // of a thread
};

// What a compiler is told: -DDW_NAME=VALUE ...
class Options {
 public:
  Options& add(const char* name, int64_t value);
  Options& add(const char* name, std::string_view value);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Equal shares of at most `most`.
int64_t share(int64_t count, int64_t most);
Divisor divisor(int64_t by);
Strides strides_of(const Array&);

inline int code(DType t) { return static_cast<int>(t); }
const char* sum_of(const Problem&);

// Outputs from one that shares taps' lines with another to the next, and lines that so many outputs meet.
int64_t step_of(const Axis&, bool gradient);
int64_t lines_of(const Axis&, int64_t outputs, int64_t taps, bool gradient);
// Equal tiles of at most `most` outputs along an axis with so many of them; of a gradient whole strides.
int64_t tile_size(const Axis&, int64_t outputs, int64_t most, bool gradient);
int64_t tiles_of(const Axis&, int64_t outputs, int64_t tile, bool gradient);

// Registers that a float takes.
int64_t registers(const Problem&, const Tile&);
// Blocks that are to fit a multiprocessor, of what is kept in registers.
int64_t blocks_for(int64_t kept);

// Chunks of taps: the whole kernel where its weights fit the registers. Else they are as high as that is worth: a line
// that is loaded meets all rows of a chunk, and one that is loaded by columns all its columns. Chunks of columns are
// multiples of `beat_cols`; of a gradient with a stride a chunk begins where the pattern of taps that meet an output
// begins again.
void choose_chunk(const Problem&, bool gradient, int64_t high, int64_t beat_cols, Tile&);

// Pairs of channels, of 16 bits each, are read as words. Their weights and sums take twice the registers, which larger
// kernels lack for tiles of a size that is worth it.
bool reads_pairs(const Problem&);
// Columns of planar rows that are read at a time: as many as 16 bytes hold or half as many, so that none are read in
// part.
int64_t vector_of(const Array&, int64_t cols);
inline int64_t shift_of(int64_t first, int64_t vector) { return (first % vector + vector) % vector; }
// Units, channels or pairs of them, that neighbouring threads have: whole sectors of 32 bytes.
int64_t lanes_of_channels(int64_t units);

bool is_planar(const Array& written, const Axis& cols, int64_t channels);

}  // namespace depthwise::cuda
