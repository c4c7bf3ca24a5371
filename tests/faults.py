"""The tests, tested: faults are planted one at a time, and the suite must fail on each.

    python tests/faults.py [--match REGEX] [--output TABLE.md]

A copy of the sources is made in which every fault of the list below waits for the environment variable
DEPTHWISE_FAULT to name it; it is built once, in an environment of its own, and the suite is run until its first
failure for each. The command fails where a fault is not found, or where the suite fails without one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    """In `file`, the only place with `before` becomes `after`, in which FAULT is true while the fault is planted."""

    name: str
    file: str
    before: str
    after: str


K, P = "csrc/kernels/", "src/depthwise/"
FAULTS = [
    Fault("top line of taps dropped", K + "tile.hpp", "first = clamp(first, 0,", "first = clamp(first + FAULT, 0,"),
    Fault("bottom line of taps dropped", K + "tile.hpp", "last = clamp(last, 0,", "last = clamp(last - FAULT, 0,"),
    Fault(
        "channel tail: last channel not stored",
        K + "pixel_sums.hpp",
        "S::store_first(column, sum[p][t], tile.lanes);",
        "S::store_first(column, sum[p][t], tile.lanes - (FAULT && tile.lanes > 1));",
    ),
    Fault(
        "channel tiles: bias of the first vector for all",
        K + "pixel_sums.hpp",
        "bias += P * S::N;",
        "bias += FAULT ? 0 : P * S::N;",
    ),
    Fault(
        "channel tiles: both vectors of a pair take the weights of the first",
        K + "pixel_sums.hpp",
        "run->w + p * w_vector",
        "run->w + (FAULT ? 0 : p * w_vector)",
    ),
    Fault(
        "multipliers: the last vector's block is not moved into the pixel's end",
        K + "correlate_channels_last.hpp",
        "(v * S::N + l) / job_.divide - first,",
        "(v * S::N + l) / job_.divide - (FAULT ? v * S::N / job_.divide : first),",
    ),
    Fault(
        "multipliers: the last of an odd number of gradients is not added",
        K + "pack.hpp",
        "sum = S::add(sum, S::gather(from + i * fold + m, fold));",
        "sum = FAULT && m > 1 ? sum : S::add(sum, S::gather(from + i * fold + m, fold));",
    ),
    Fault(
        "channel tiles: the last column beside an image's end is not asked for",
        K + "pixel_sums.hpp",
        "if (is_asked<C, T, A>(s)) {",
        "if (is_asked<C, T, A>(s) && !(FAULT && s == T + A - 2)) {",
    ),
    Fault(
        "channel tiles: runs of which other columns are live are taken for alike",
        K + "tile_runs.hpp",
        "end[-1].live == c->live",
        "(FAULT || end[-1].live == c->live)",
    ),
    Fault(
        "channel tiles: rows at an image's end take the runs of those inside",
        K + "tile_runs.hpp",
        "keys_[place] == key)",
        "keys_[place] == key || (FAULT && key.row_taps.size() < keys_[place].row_taps.size()))",
    ),
    Fault(
        "row tail: last column not stored",
        K + "rows.hpp",
        "in_order<S>(sum[t]), count);",
        "in_order<S>(sum[t]), count - (FAULT && count > 1));",
    ),
    Fault(
        "tiles of rows: all but the first begin a line early",
        K + "row_tiles.hpp",
        "tile.t0 = heights.begin(k);",
        "tile.t0 = heights.begin(k) - (FAULT && k > 0);",
    ),
    Fault(
        "stride two: second phase of columns not stored",
        K + "rows.hpp",
        "if (count > S::N) store_lines",
        "if (count > S::N && !FAULT) store_lines",
    ),
    Fault(
        "chunks of taps behind the first are left out",
        K + "rows.hpp",
        "next < run.chunks_end; ++next",
        "next < (FAULT ? run.chunks + 1 : run.chunks_end); ++next",
    ),
    Fault(
        "square kernels: second plane in depth replaces the first",
        K + "square_kernels.hpp",
        "} while (!one_chunk && ++chunk < run.chunks_end);",
        "} while (!one_chunk && ++chunk < run.chunks_end - FAULT);",
    ),
    Fault(
        "square kernels: taken whatever lines lie beside the image",
        K + "run_rows.hpp",
        "lines_in)) return nullptr;",
        "lines_in) && !FAULT) return nullptr;",
    ),
    Fault(
        "stride two: squares taken whatever lines lie beside the image",
        K + "run_rows.hpp",
        "if (!ends_alone(chunk->live, lines, chunk->taps)) return nullptr;",
        "if (!FAULT && !ends_alone(chunk->live, lines, chunk->taps)) return nullptr;",
    ),
    Fault(
        "stride two: the right end of a row is taken for its middle",
        K + "tile.hpp",
        "v >= left_end && v < right_begin;",
        "v >= left_end && (v < right_begin || FAULT);",
    ),
    Fault(
        "stride two: lanes stay in the order of the split",
        K + "rows.hpp",
        "return S::split_order(v);",
        "return FAULT ? v : S::split_order(v);",
    ),
    Fault(
        "left border: a column too many",
        K + "stretches.hpp",
        "masks[o] = V::mask(divide_up(at_least(-at, 0), step),",
        "masks[o] = V::mask(at_least(0, divide_up(at_least(-at, 0), step) - FAULT),",
    ),
    Fault(
        "single rows: the rest of the stack computed at the start",
        K + "stretches.hpp",
        "last.column += s.vectors * lines * S::N;",
        "last.column += FAULT ? 0 : s.vectors * lines * S::N;",
    ),
    Fault(
        "bias of another dtype missing",
        K + "plane_weights.hpp",
        "bias_copy_ = load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);",
        "bias_copy_ = FAULT ? E{0} : load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);",
    ),
    Fault(
        "channels last: bias missing in the tail",
        K + "packed_weights.hpp",
        "job_.b && !idle ? load_as",
        "job_.b && !idle && !(FAULT && lanes_in<S>(v, job_.out_channels) < S::N) ? load_as",
    ),
    Fault(
        "channels last: row below the image dropped too early",
        K + "band_taps.hpp",
        "tap[inside.end - 1].in0 + row >= job_.in.cross_size)",
        "tap[inside.end - 1].in0 + row >= job_.in.cross_size - FAULT)",
    ),
    Fault(
        "past the caches: last element of a tile left out",
        K + "correlate_channels_last.hpp",
        "stream_span<S>(to, streamed_, lines * job_.out_channels);",
        "stream_span<S>(to, streamed_, lines * job_.out_channels - FAULT);",
    ),
    Fault(
        "16-bit planes: always the image's first channels",
        K + "correlate_converted.hpp",
        "const int64_t n = unit / channels, c = unit % channels;",
        "const int64_t n = unit / channels, c = FAULT ? 0 : unit % channels;",
    ),
    Fault(
        "16-bit pixels: last row of a band not read",
        K + "correlate_converted_pixels.hpp",
        "widen_rows(slice, read, channels);",
        "widen_rows(slice, {read.begin, read.end - (FAULT && read.size() > 1)}, channels);",
    ),
    Fault(
        "16-bit pixels of volumes: every tap reads the first plane",
        K + "correlate_converted_pixels.hpp",
        "image + plane * job_.in.depth +",
        "image + (FAULT ? first : plane) * job_.in.depth +",
    ),
    Fault(
        "16-bit pixels of volumes: all outputs in the first plane",
        K + "correlate_converted_pixels.hpp",
        "slice.row * job_.out.batch + slices_.out(slice) +",
        "slice.row * job_.out.batch + (FAULT ? 0 : slices_.out(slice)) +",
    ),
    Fault(
        "weight gradient of 16-bit planes: one image too few",
        K + "weight_grad_converted.hpp",
        "n1 = images.end(part);",
        "n1 = images.end(part) - (FAULT && part + 1 == job_.parts && job_.batch > job_.parts);",
    ),
    Fault(
        "planar weight gradient: last column left out",
        K + "product_strip.hpp",
        "floor_div(job_.x.cross_size - 1 - at, step) + 1);",
        "floor_div(job_.x.cross_size - 1 - at, step) + 1 - FAULT);",
    ),
    Fault(
        "planar weight gradient: a row beside the image under a stride of two not seen",
        K + "product_tiles.hpp",
        "last_beside = taps > 1 && set.last",
        "last_beside = !FAULT && taps > 1 && set.last",
    ),
    Fault(
        "planar weight gradient: a row of gy too few behind the tile's first",
        K + "row_products.hpp",
        "Step left = run.lines - (held - 1);",
        "Step left = run.lines - (held - 1) - (FAULT && run.lines >= held);",
    ),
    Fault(
        "planar weight gradient: totals of taps that meet nothing left as they were",
        K + "weight_grad_planar.hpp",
        "for (int64_t a = 0; a < taps; ++a)\n        for (int64_t o = o0",
        "for (int64_t a = 0; a < taps - FAULT; ++a)\n        for (int64_t o = o0",
    ),
    Fault(
        "planar weight gradient: last band left out",
        K + "weight_grad_planar.hpp",
        "run_bands(o, n, {band, band + next - cell});",
        "run_bands(o, n, {band, band + next - cell - FAULT});",
    ),
    Fault(
        "channels-last weight gradient: a column between two blocks left out",
        K + "weight_grad_channels_last.hpp",
        ".t = at, .count = at_most(most, t.end - at)};",
        ".t = at, .count = at_most(most - (FAULT && most > 1), t.end - at)};",
    ),
    Fault(
        "channels-last weight gradient: rows in which a tap is beside the image left out",
        K + "gradient_pieces.hpp",
        "if (!inside.empty()) add_piece(",
        "if (!inside.empty() && !(FAULT && inside.size() < cross.size())) add_piece(",
    ),
    Fault(
        "channels-last weight gradient: pixels at a row's end left out",
        K + "products.hpp",
        "for (; left > 0; --left, line += p_.lines_apart) add_one(sum[0], line);",
        "for (; left > FAULT; --left, line += p_.lines_apart) add_one(sum[0], line);",
    ),
    Fault(
        "channels-last weight gradient: the last of neighbouring pixels left out",
        K + "products.hpp",
        "if (s >= a && (s - a) % apart == 0 && t < pixels_together)",
        "if (s >= a && (s - a) % apart == 0 && t < pixels_together - FAULT)",
    ),
    Fault(
        "channels-last weight gradient: second share of a few sums lost",
        K + "products.hpp",
        "sum[0][o][a] = S::add(sum[0][o][a], sum[i][o][a]);",
        "sum[0][o][a] = FAULT ? sum[0][o][a] : S::add(sum[0][o][a], sum[i][o][a]);",
    ),
    Fault(
        "channels-last weight gradient: one vector of gy for all beside packed x",
        K + "weight_grad_channels_last.hpp",
        "p.g_vector = g_.vector_size();",
        "p.g_vector = FAULT && job_.g.direct ? 0 : g_.vector_size();",
    ),
    Fault(
        "channels-last weight gradient: the first lane behind those that lap over is not stored",
        K + "sums.hpp",
        "for (int64_t l = own - first; l < end; ++l)",
        "for (int64_t l = own - first + (FAULT && own > first); l < end; ++l)",
    ),
    Fault(
        "pixels copied in pairs of vectors: the second's lanes are the first's",
        K + "packed_pixels.hpp",
        "S::store(second, S::load(pixel + S::N));",
        "S::store(second, S::load(pixel + (FAULT ? 0 : S::N)));",
    ),
    Fault(
        "bias gradient: odd pixels left out",
        K + "bias_sums.hpp",
        "odd = S::add(odd, S::load(p + (i + 1) * g.line));",
        "odd = FAULT ? odd : S::add(odd, S::load(p + (i + 1) * g.line));",
    ),
    Fault(
        "bias gradient: tail of a row left out",
        K + "bias_sums.hpp",
        "S::mask(0, count - i)",
        "S::mask(0, count - i - FAULT)",
    ),
    Fault(
        "long sums: what was emptied is forgotten",
        K + "sums.hpp",
        "for (int64_t l = 0; l < S::N; ++l) total += totals_[first + l];",
        "for (int64_t l = 0; l < S::N && !FAULT; ++l) total += totals_[first + l];",
    ),
    Fault(
        "long sums: never emptied", K + "sums.hpp", "> steps_kept) empty(set);", "> steps_kept && !FAULT) empty(set);"
    ),
    Fault(
        "bfloat16 truncated, not rounded",
        "csrc/simd/common.hpp",
        "(u + 0x7fffu + (u >> 16 & 1u)) >> 16)",
        "(FAULT ? u : u + 0x7fffu + (u >> 16 & 1u)) >> 16)",
    ),
    Fault(
        "float64 rounded twice on its way to 16 bits",
        "csrc/simd/common.hpp",
        "return convert<To>(narrow_to_odd(v));",
        "return convert<To>(FAULT ? static_cast<float>(v) : narrow_to_odd(v));",
    ),
    Fault(
        "multiplier: always the first filter",
        "csrc/plan/jobs.cpp",
        ".W_multiplier = W.strides[0],",
        ".W_multiplier = FAULT ? 0 : W.strides[0],",
    ),
    Fault(
        "rows of W taken as dense",
        "csrc/plan/jobs.cpp",
        ".W_line = W.strides[channel_lanes ? width_axis : height_axis],",
        ".W_line = FAULT ? (channel_lanes ? 1 : p.w.kernel) : W.strides[channel_lanes ? width_axis : height_axis],",
    ),
    Fault(
        "weight gradient stored as if out were dense",
        "csrc/engine.cpp",
        "plane[k * gW.strides[height_axis] +",
        "plane[k * (FAULT ? kernel_w : gW.strides[height_axis]) +",
    ),
    Fault(
        "parts of a weight gradient: the last is not added",
        "csrc/engine.cpp",
        "for (int64_t part = 0; part < parts; ++part) total",
        "for (int64_t part = 0; part < parts - (FAULT && parts > 1); ++part) total",
    ),
    Fault(
        "dilation between the rows of a phase ignored",
        "csrc/lattice.cpp",
        "add_tap_set(phase * a.stride + tap * a.dilate - a.pad, line_in_step_,",
        "add_tap_set(phase * a.stride + tap * (FAULT ? 1 : a.dilate) - a.pad, line_in_step_,",
    ),
    Fault(
        "input gradient with stride: a tap of another phase",
        "csrc/lattice.cpp",
        "found.push_back({out, tap});",
        "found.push_back({out, FAULT && tap ? tap - 1 : tap});",
    ),
    Fault(
        "outputs that no tap meets left as they were",
        "csrc/engine.cpp",
        "if (plan.clears) clear",
        "if (plan.clears && !FAULT) clear",
    ),
    Fault(
        "outputs that no tap meets left as they were in a stage",
        K + "correlate_channels_last.hpp",
        "if (!lat_.covers) out_.clear",
        "if (!lat_.covers && !FAULT) out_.clear",
    ),
    Fault(
        "packed rows: a tap reads its neighbour's columns",
        "csrc/row_layout.cpp",
        "s.at + reads[i].shift - s.shift;",
        "s.at + (FAULT && s.length > 40 ? 0 : reads[i].shift - s.shift);",
    ),
    Fault(
        "packed rows: two residues taken for one",
        "csrc/row_layout.cpp",
        "return apart == 1 ? 0 : r.residue;",
        "return apart == 1 || (FAULT && apart > 1000) ? 0 : r.residue;",
    ),
    Fault(
        "packed rows: what lies beside the row is kept",
        K + "packed_rows.hpp",
        "S::keep(v[j], inside[j])",
        "(FAULT ? v[j] : S::keep(v[j], inside[j]))",
    ),
    Fault(
        "packed rows: another plane's rows are taken for those that are asked for",
        K + "packed_rows.hpp",
        "if (plane->at == at) {",
        "if (plane->at == at || (FAULT && plane->at != no_plane)) {",
    ),
    Fault(
        "taps that lie apart: lines beside the image are added",
        K + "rows_apart.hpp",
        "if (live == every)",
        "if (live == every || (FAULT && live))",
    ),
    Fault(
        "packed rows: a row that runs backwards is one element late",
        K + "pack.hpp",
        "S::load(from - at - (S::N - 1))",
        "S::load(from - at - (S::N - 1) + (FAULT && at > 0))",
    ),
    Fault(
        "packed pixels: rows of one residue in one window, however far apart",
        K + "row_windows.hpp",
        "|| m > windows_[i].rows.end))",
        "|| (m > windows_[i].rows.end && !FAULT)))",
    ),
    Fault(
        "packed sums: planes one by one, always the first",
        K + "correlate_planar.hpp",
        "const Chunk* from = tile.chunks + begin * chunks;",
        "const Chunk* from = tile.chunks + (FAULT ? 0 : begin) * chunks;",
    ),
    Fault(
        "weights beside a row counted",
        K + "correlate_planar.hpp",
        "careful_ = !S::masked_fma && !weights_.finite(1);",
        "careful_ = !S::masked_fma && !FAULT && !weights_.finite(1);",
    ),
    Fault(
        "weights of planes done together not looked at",
        K + "correlate_planar.hpp",
        "while (!S::masked_fma && channels && most > 1",
        "while (!S::masked_fma && !FAULT && channels && most > 1",
    ),
    Fault(
        "gy beside a row counted where it is not finite",
        K + "weight_grad_planar.hpp",
        "if (careful_) sum();",
        "if (careful_ && !FAULT) sum();",
    ),
    Fault("transforms: a factor of radix 3", K + "fourier.hpp", "E(-0.5)", "E(FAULT ? -0.25 : -0.5)"),
    Fault(
        "transforms: a factor of radix 5",
        K + "fourier.hpp",
        "E(0.58778525229247312917)",
        "E(FAULT ? 0.58 : 0.58778525229247312917)",
    ),
    Fault(
        "transforms: groups of a pass take the factors of the next",
        K + "fourier.hpp",
        "(R - 1) * p + r)]), S",
        "(R - 1) * (p + (FAULT && p > 1)) + r)]), S",
    ),
    Fault(
        "spectra: the second row of a pair is the first's",
        K + "spectral_plane.hpp",
        "S::sub(b.re, a.re)",
        "S::sub(FAULT ? a.re : b.re, a.re)",
    ),
    Fault(
        "spectra: rows beside a tile are not cleared",
        K + "spectral_plane.hpp",
        "if (in_order) clear_rows(next, h_.size);",
        "if (in_order && !FAULT) clear_rows(next, h_.size);",
    ),
    Fault(
        "spectra: a column's last number left out",
        K + "correlate_spectral.hpp",
        "i < elements; i += 2 * S::N",
        "i < elements - FAULT * 2 * S::N; i += 2 * S::N",
    ),
    Fault(
        "spectra: filters of the last set kept",
        K + "correlate_spectral.hpp",
        "else if (filter != filter_)",
        "else if (filter != filter_ && !(FAULT && filter_ >= 0))",
    ),
    Fault(
        "spectra: the first filter for all of a channel",
        K + "correlate_spectral.hpp",
        "filters_.column(m, k), plane_.column_size());\n        products",
        "filters_.column(FAULT ? 0 : m, k), plane_.column_size());\n        products",
    ),
    Fault(
        "spectra: the bias of the first of a channel's filters for all",
        K + "correlate_spectral.hpp",
        "channel * multiplier + m) * job_.b_stride",
        "channel * multiplier + (FAULT ? 0 : m)) * job_.b_stride",
    ),
    Fault(
        "spectra: sums that are not finite are kept",
        K + "spectral_tiles.hpp",
        "job.unfit + index, uint8_t{1}",
        "job.unfit + index, uint8_t{!FAULT}",
    ),
    Fault(
        "spectra: of a weight gradient the last tile alone",
        K + "weight_grad_spectral.hpp",
        "cell == parts.begin(part));",
        "FAULT || cell == parts.begin(part));",
    ),
    Fault(
        "spectra: a weight gradient of tiles is the first lane's",
        K + "weight_grad_spectral.hpp",
        "l < S::N; ++l) sum",
        "l < (FAULT ? 1 : S::N); ++l) sum",
    ),
    Fault(
        "windows: the last column not read",
        K + "lane_windows.hpp",
        "side_.line,\n                     mine.size());",
        "side_.line,\n                     mine.size() - FAULT);",
    ),
    Fault(
        "windows: rows of another lane's tile",
        K + "lane_windows.hpp",
        "row >= lanes_[l].rows.begin && row < lanes_[l].rows.end)",
        "(FAULT || row >= lanes_[l].rows.begin) && (FAULT || row < lanes_[l].rows.end))",
    ),
    Fault(
        "tiles: a place too few on a circle",
        "csrc/plan/spectral.cpp",
        "last + extent - in_begin * a.in_step});",
        "last + extent - in_begin * a.in_step - FAULT});",
    ),
    Fault(
        "tiles: inputs a stride apart begin at a wrong place",
        K + "spectral_tiles.hpp",
        "t.in_first = t.in_base * a.in_step - first;",
        "t.in_first = (t.in_base * a.in_step - first) * !FAULT;",
    ),
    Fault(
        "reflect: the border itself is repeated",
        "csrc/border_copy.cpp",
        "border == Border::reflect ? size - 1 : size",
        "border == Border::reflect && !FAULT ? size - 1 : size",
    ),
    Fault(
        "symmetric: the border itself is left out",
        "csrc/border_copy.cpp",
        "period - at : period - 1 - at",
        "period - at : period - 1 - at - (FAULT && at < period - 1 && size > 1)",
    ),
    Fault(
        "edge: the last element everywhere", "csrc/border_copy.cpp", "return place < 0 ?", "return place < 0 - FAULT ?"
    ),
    Fault(
        "wrap: turned as a mirror",
        "csrc/border_copy.cpp",
        "border == Border::wrap ? size :",
        "border == Border::wrap && !FAULT ? size :",
    ),
    Fault(
        "borders: what belongs beside the image is added for the first block of channels alone",
        "csrc/border_copy.cpp",
        "each_unit(to.batch * blocks,",
        "each_unit(to.batch * (FAULT ? 1 : blocks),",
    ),
    Fault(
        "borders: the last strip beside the outputs inside is left out",
        "csrc/borders.cpp",
        "for (const Strip& strip : around(all, inside)) each_copied(strip.box, f);",
        "for (const Strip& strip : around(all, inside))\n"
        "      if (!FAULT || strip.box[2].begin == 0) each_copied(strip.box, f);",
    ),
    Fault(
        "borders: outputs inside read from the image's start",
        "csrc/borders.cpp",
        "places(p.*spatial[i], outs[i]).begin * p.x",
        "(FAULT ? 0 : places(p.*spatial[i], outs[i]).begin) * p.x",
    ),
    Fault(
        "borders: an input gradient beside the image meets an output too few",
        "csrc/borders.cpp",
        "floor_div(pad - reach(a) + 1, a.stride))",
        "floor_div(pad - reach(a) + 1, a.stride) + FAULT)",
    ),
    Fault(
        "borders: a weight gradient's parts are not added",
        "csrc/borders.cpp",
        "totals[i] += sums[i]",
        "totals[i] = sums[i] + (FAULT ? 0 : totals[i])",
    ),
    Fault(
        "padded planes: every group has the weights of the first",
        "csrc/padded_planes.cpp",
        ".W = bytes_between(it.problem.W, problem.W)",
        ".W = FAULT ? 0 : bytes_between(it.problem.W, problem.W)",
    ),
    Fault(
        "padded planes: only the first part of a weight gradient is added",
        "csrc/padded_planes.cpp",
        "part <= parts; ++part)",
        "part <= (FAULT ? 1 : parts); ++part)",
    ),
    Fault(
        "padded planes: rows beside the image are not folded back",
        "csrc/border_copy.cpp",
        "for (const auto& [beside, inside] : h_) add(",
        "for (const auto& [beside, inside] : h_)\n      if (!FAULT) add(",
    ),
    Fault(
        "planes done directly: all images' at the first's place",
        "csrc/subproblems.hpp",
        "advance(part.y, images.begin * p.y.strides[0]",
        "advance(part.y, (FAULT ? 0 : images.begin) * p.y.strides[0]",
    ),
    Fault(
        "taps that no output meets: their weights' gradients are not cleared",
        "csrc/engine.cpp",
        "taps_of(p) < taps_of(asked)",
        "taps_of(p) < taps_of(asked) - (FAULT ? 1 << 30 : 0)",
    ),
    Fault(
        "taps that no output meets: those that are left keep the weights of the first",
        "csrc/engine.cpp",
        "advance(p.W, first * p.W.strides[axis]);",
        "if (!FAULT) advance(p.W, first * p.W.strides[axis]);",
    ),
    Fault(
        "taps that no output meets: those that are left keep the place of the first",
        "csrc/engine.cpp",
        "a.pad -= first * a.dilate;",
        "a.pad -= FAULT ? 0 : first * a.dilate;",
    ),
    Fault(
        "depth: the image's first plane left out",
        K + "slices.hpp",
        "in0 + at < 0) ++inside.begin",
        "in0 + at < FAULT) ++inside.begin",
    ),
    Fault(
        "depth: the image's last plane left out",
        K + "slices.hpp",
        "in0 + at >= job_.in.depths)",
        "in0 + at >= job_.in.depths - FAULT)",
    ),
    Fault(
        "depth: outputs a stride apart read neighbouring planes",
        K + "slices.hpp",
        "return lat_.depth_in_step * job_.in.depth;",
        "return (FAULT ? 1 : lat_.depth_in_step) * job_.in.depth;",
    ),
    Fault(
        "depth: outputs that meet other taps done together",
        K + "slices.hpp",
        "&& taps_inside(next) == slice.taps)",
        "&& (FAULT || taps_inside(next) == slice.taps))",
    ),
    Fault(
        "depth: weights of the first plane for all",
        K + "row_tiles.hpp",
        "slices_.taps(*depth_)[k / job_.sum].tap * w_depth_",
        "(FAULT ? 0 : slices_.taps(*depth_)[k / job_.sum].tap) * w_depth_",
    ),
    Fault(
        "depth: tiles of another phase kept",
        K + "row_tiles.hpp",
        "if (depth == depth_ && most_taps == most_taps_) return;",
        "if ((FAULT || depth == depth_) && most_taps == most_taps_) return;",
    ),
    Fault(
        "depth, channels last: tiles of another phase kept",
        K + "column_tiles.hpp",
        "if (depth == depth_ && index",
        "if ((FAULT || depth == depth_) && index",
    ),
    Fault(
        "depth, channels last: every tap reads the same plane",
        K + "column_tiles.hpp",
        "depth.in0 * job_.in.depth : k",
        "(FAULT ? 0 : depth.in0) * job_.in.depth : k",
    ),
    Fault(
        "depth, channels last: weights of the first plane for all",
        K + "packed_weights.hpp",
        "return k / job_.sum * job_.W_depth +",
        "return (FAULT ? 0 : k / job_.sum) * job_.W_depth +",
    ),
    Fault(
        "depth: copied weights of the first plane for all",
        K + "plane_weights.hpp",
        "first + t * job_.W_depth +",
        "first + (FAULT ? 0 : t) * job_.W_depth +",
    ),
    Fault(
        "depth: weights of the first plane alone looked at",
        K + "plane_weights.hpp",
        "i * plane_step() + t * depth_step()",
        "i * plane_step() + (FAULT ? 0 : t) * depth_step()",
    ),
    Fault(
        "16-bit volumes: gaps between planes overlooked",
        K + "planes.hpp",
        "(side.depths == 1 || side.depth == plane_size(side))",
        "(side.depths == 1 || FAULT || side.depth == plane_size(side))",
    ),
    Fault(
        "weight gradient in depth: last plane of gy left out",
        "csrc/engine.cpp",
        "std::max<int64_t>(1, count);",
        "std::max<int64_t>(1, count - FAULT);",
    ),
    Fault(
        "weight gradient in depth: the stride ignored",
        "csrc/engine.cpp",
        "one.x.strides[depth_axis] *= d.stride;",
        "one.x.strides[depth_axis] *= FAULT ? 1 : d.stride;",
    ),
    Fault(
        "bias gradient in depth: filters of a channel taken as one",
        "csrc/engine.cpp",
        "sums.channels *= sums.multiplier;",
        "if (!FAULT) sums.channels *= sums.multiplier;",
    ),
    Fault(
        "outputs that no tap meets cleared in the first plane alone",
        "csrc/engine.cpp",
        "row / h % d * strides[depth_axis] +",
        "(FAULT ? 0 : row / h % d) * strides[depth_axis] +",
    ),
    Fault(
        "axes that are there go last without W's",
        "csrc/plan/facts.cpp",
        "for (Array* a : {&p->x, &p->W, &p->y}) std::swap(",
        "for (Array* a : {&p->x, &p->W, &p->y})\n    if (!FAULT || a != &p->W) std::swap(",
    ),
    Fault(
        "two axes taken as one across a gap",
        "csrc/plan/facts.cpp",
        "return p.x.strides[outer] == a.size * p.x.strides[inner] &&",
        "return (FAULT || p.x.strides[outer] == a.size * p.x.strides[inner]) &&",
    ),
    Fault(
        "a line, few taps: vectors beyond the fours left out",
        K + "row_sums.hpp",
        "for (; at < p.edges.inner.end; at += S::N) few",
        "for (; at < p.edges.inner.end && !(FAULT && at); at += S::N) few",
    ),
    Fault(
        "a line, many taps: the last left out",
        K + "row_sums.hpp",
        "for (int64_t k = 0; k < r.taps; ++k) {",
        "for (int64_t k = 0; k < r.taps - FAULT; ++k) {",
    ),
    Fault(
        "a line: a column behind the row read",
        K + "row_edges.hpp",
        "at_most(lanes, to.inside[k].end - at));",
        "at_most(lanes, to.inside[k].end - at + FAULT));",
    ),
    Fault(
        "a line: outputs that read behind the row taken as inside",
        K + "row_edges.hpp",
        "at_least(last.end - to.inner.begin, 0)",
        "at_least(last.end + FAULT * S::N - to.inner.begin, 0)",
    ),
    Fault(
        "a line: what lies before the row not zero",
        K + "sequence_window.hpp",
        "clear<S>(to + r * part_, read.begin);",
        "if (!FAULT) clear<S>(to + r * part_, read.begin);",
    ),
    Fault(
        "a line: weights of the first channel for all",
        K + "correlate_sequence.hpp",
        "if (channels == channels_) return;",
        "if (channels == channels_ || (FAULT && channels_.begin >= 0)) return;",
    ),
    Fault(
        "a line: the second filter replaces the first",
        K + "correlate_sequence.hpp",
        ".adds = m > 0,",
        ".adds = m > 0 && !FAULT,",
    ),
    Fault(
        "a line: weights beside the row counted",
        K + "correlate_sequence.hpp",
        "careful_ = !few_ && !weights_.finite(1);",
        "careful_ = !few_ && !FAULT && !weights_.finite(1);",
    ),
    Fault(
        "pixels of a line: last line of a tile left out",
        K + "line_tiles.hpp",
        "for (; line < lines; ++line)",
        "for (; line < lines - (FAULT && lines > 1); ++line)",
    ),
    Fault(
        "pixels of a line: the last counts as beside it",
        K + "line_tiles.hpp",
        "line >= 0 && line < size_}",
        "line >= 0 && line < size_ - FAULT}",
    ),
    Fault(
        "pixels of a line: an input gradient's taps in ascending order",
        K + "correlate_sequence_pixels.hpp",
        "line_.tap(0) > 0)",
        "line_.tap(0) > 0 && !FAULT)",
    ),
    Fault(
        "pixels of a line: copies lie as if they had the first channels",
        K + "staged_lines.hpp",
        "return copy_ - lines.begin * line_ - channels.begin;",
        "return copy_ - lines.begin * line_ - (FAULT ? 0 : channels.begin);",
    ),
    Fault(
        "pixels of a line: the vector that laps over left out",
        K + "correlate_sequence_pixels.hpp",
        "? first + job_.group : divide_up(job_.out_channels, S::N)};",
        "? first + job_.group : FAULT ? job_.out_channels / S::N : divide_up(job_.out_channels, S::N)};",
    ),
    Fault(
        "pixels of a line: no activation",
        K + "correlate_sequence_pixels.hpp",
        "if (tile.activation != depthwise::Activation::none) {",
        "if (tile.activation != depthwise::Activation::none && !FAULT) {",
    ),
    Fault(
        "weight gradient of a line: odd vectors left out",
        K + "weight_grad_sequence.hpp",
        "add(at + S::N, sum[1]);",
        "if (!FAULT) add(at + S::N, sum[1]);",
    ),
    Fault(
        "weight gradient of a line: what is not finite counted beside it",
        K + "weight_grad_sequence.hpp",
        "S::load(g + e->at, mask[k])",
        "S::load(g + e->at, FAULT ? S::mask(0, e->lanes) : mask[k])",
    ),
    Fault(
        "weight gradient of a line's pixels: a border's products under the first tap",
        K + "weight_grad_sequence_pixels.hpp",
        "sums + c->first * S::N, *c);",
        "sums + (FAULT ? 0 : c->first * S::N), *c);",
    ),
    Fault(
        "an activation in place: the first plane of several alone",
        K + "correlate_planar.hpp",
        "plane < planes; ++plane) activate_rows",
        "plane < (FAULT ? 1 : planes); ++plane) activate_rows",
    ),
    Fault(
        "an activation of staged rows: the first row alone",
        K + "correlate_planar.hpp",
        "for (int64_t t = 0; t < tile.lines; ++t)\n        activate_span",
        "for (int64_t t = 0; t < (FAULT ? 1 : tile.lines); ++t)\n        activate_span",
    ),
    Fault(
        "an activation of pixels in place: the first of a tile alone",
        K + "correlate_channels_last.hpp",
        "for (int64_t t = 0; t < lines; ++t)\n        activate_span",
        "for (int64_t t = 0; t < (FAULT ? 1 : lines); ++t)\n        activate_span",
    ),
    Fault(
        "no activation past the caches",
        K + "correlate_channels_last.hpp",
        "activate_span<S>(job_.activation, streamed_,",
        "if (!FAULT) activate_span<S>(job_.activation, streamed_,",
    ),
    Fault(
        "an activation of staged pixels: the first row alone",
        K + "staged_pixels.hpp",
        "for (int64_t i = 0; i < band.rows.size(); ++i)\n        activate_span",
        "for (int64_t i = 0; i < (FAULT ? 1 : band.rows.size()); ++i)\n        activate_span",
    ),
    Fault(
        "planar memory by channels: of vectors that are packed together the first alone is activated",
        K + "staged_pixels.hpp",
        "for (int64_t v = 0; v < vectors; ++v)\n      for",
        "for (int64_t v = 0; v < (FAULT ? 1 : vectors); ++v)\n      for",
    ),
    Fault(
        "planar memory by channels: of vectors that are packed together the first is stored for all",
        K + "staged_pixels.hpp",
        "++v, stage += stage_size()",
        "++v, stage += FAULT ? 0 : stage_size()",
    ),
    Fault(
        "planar memory by channels: of vectors that are packed together the first alone is cleared",
        K + "staged_pixels.hpp",
        "for (int64_t v = 0; v < vectors; ++v) ::clear",
        "for (int64_t v = 0; v < (FAULT ? 1 : vectors); ++v) ::clear",
    ),
    Fault(
        "planar volumes by channels: vectors that are packed together share all planes but one",
        K + "row_windows.hpp",
        "return planes_ * plane_size();",
        "return (FAULT ? 1 : planes_) * plane_size();",
    ),
    Fault(
        "no activation beyond whole vectors",
        K + "activation.hpp",
        "if (i == count) return;",
        "if (i == count || FAULT) return;",
    ),
    Fault(
        "a decode step: a longer state taken from its start",
        K + "causal_update.hpp",
        "const int64_t first = kept_ - (job_.width - 1);",
        "const int64_t first = FAULT ? 0 : kept_ - (job_.width - 1);",
    ),
    Fault(
        "a decode step: what lies beside a block of the state cleared",
        K + "causal_update.hpp",
        "const E next = convert<E>(",
        "const E next = FAULT ? E{0} : convert<E>(",
    ),
    Fault(
        "a decode step: a circular state does not go round",
        K + "causal_update.hpp",
        "done < columns; at = 0) {",
        "done < columns; at = FAULT ? at : 0) {",
    ),
    Fault(
        "a decode step in pieces: the state does not move on between them",
        K + "causal_update.hpp",
        "if (t) slide(columns);",
        "if (t && !FAULT) slide(columns);",
    ),
    Fault(
        "bytes of the other order taken as they lie",
        "csrc/buffer.hpp",
        "!is_native(*format++)) return",
        "!is_native(*format++) && !FAULT) return",
    ),
    Fault(
        "a refused array not copied",
        P + "passes.py",
        "if kind != INPUT_GRAD:\n            x = fitting",
        "if kind != INPUT_GRAD and not FAULT:\n            x = fitting",
    ),
    Fault(
        "masks of arrays ignored",
        P + "arrays.py",
        "isinstance(a, np.ma.MaskedArray):",
        "isinstance(a, np.ma.MaskedArray) and not FAULT:",
    ),
    Fault(
        "threads: last unit of a range left out",
        "csrc/parallel.cpp",
        "units * (i + 1) / count,",
        "units * (i + 1) / count - (FAULT && count > 1),",
    ),
    Fault(
        "threads: results returned before helpers end",
        "csrc/pool.cpp",
        "unfinished_.load(std::memory_order_acquire); left;)",
        "unfinished_.load(std::memory_order_acquire); left && !FAULT;)",
    ),
    Fault(
        "threads: sums hang on their number",
        "csrc/plan.cpp",
        "plan(candidate.weight_gradient, sum_products, weight_gradient);",
        "plan(candidate.weight_gradient, sum_products, weight_gradient);\n    WeightGradient& job = weight_gradient;\n"
        "    if (FAULT && !job.gW && !job.channels_together && job.parts > most_threads)\n"
        "      units = job.units = job.groups * (job.parts = most_threads);",
    ),
    Fault(
        "dispatch: the last target whatever was asked for",
        "csrc/bindings.cpp",
        "return targets[index];",
        "return targets[FAULT ? target_count - 1 : index];",
    ),
    Fault(
        "W with other channels accepted",
        P + "geometry.py",
        "if W_shape[1] != x_shape[1]:",
        "if W_shape[1] != x_shape[1] and not FAULT:",
    ),
    Fault(
        "'same' pads before instead of behind",
        P + "geometry.py",
        "pad = total // 2, total - total // 2",
        "pad = (total - total // 2, total // 2) if FAULT else (total // 2, total - total // 2)",
    ),
    Fault("stride 0 accepted", P + "arguments.py", "if v < least:", "if v < least - FAULT:"),
    Fault(
        "'causal' pads behind",
        P + "geometry.py",
        "pad = max(reach - 1, 0), 0",
        "pad = (0, max(reach - 1, 0)) if FAULT else (max(reach - 1, 0), 0)",
    ),
    Fault(
        "a function takes any number of axes",
        P + "arguments.py",
        "count = most if expected is None else expected",
        "count = most if expected is None or FAULT else expected",
    ),
    Fault(
        "activation left out",
        P + "ops.py",
        "activation=activation_code(activation),",
        "activation=activation_code(None if FAULT else activation),",
    ),
    Fault(
        "gradient of an activation taken at gy",
        P + "passes.py",
        "for a, code in ((z, z_code), (gy, gy_code))",
        "for a, code in ((gy if FAULT else z, gy_code if FAULT else z_code), (gy, gy_code))",
    ),
    Fault(
        "overlapping out accepted",
        P + "arrays.py",
        "and _shares_memory(out, a):",
        "and not FAULT and _shares_memory(out, a):",
    ),
    Fault(
        "read-only out accepted",
        P + "arrays.py",
        "if not out.flags.writeable:",
        "if not out.flags.writeable and not FAULT:",
    ),
    Fault(
        "result of another byte order than x's",
        P + "arrays.py",
        "return result if result.dtype == dtype else _converted(result, dtype)",
        "return result if result.dtype == dtype or FAULT else _converted(result, dtype)",
    ),
    Fault(
        "b of another dtype than x's accepted",
        P + "passes.py",
        'getattr(b, "dtype", x.dtype) != x.dtype:',
        'getattr(b, "dtype", x.dtype) != x.dtype and not FAULT:',
    ),
    Fault(
        "gradient replaced, not accumulated",
        P + "chainer/backward.py",
        "v.grad_var = g if v._grad is None else v._grad + g",
        "v.grad_var = g if v._grad is None or FAULT else v._grad + g",
    ),
    Fault(
        "bias without a gradient",
        P + "chainer/convolution.py",
        "return gx, gW, BiasGrad(gb)(gy) if needs[2] else None",
        "return gx, gW, BiasGrad(gb)(gy) if needs[2] and not FAULT else None",
    ),
    Fault(
        "channels-last x gives planar y",
        P + "arrays.py",
        "return not a.flags.c_contiguous and _core",
        "return not FAULT and not a.flags.c_contiguous and _core",
    ),
    Fault(
        "XLA: pads of rows and columns exchanged",
        "csrc/xla.cpp",
        "out > 1 ? stride[i] : 1, pad[i],",
        "out > 1 ? stride[i] : 1, pad[FAULT ? pad.size() - 1 - i : i],",
    ),
    Fault("XLA: results returned before helpers end", "csrc/xla.cpp", "shared->wait();", "if (!FAULT) shared->wait();"),
    Fault(
        "XLA: the last target whatever was asked for",
        "csrc/xla.cpp",
        "targets[active_target.load(std::memory_order_relaxed)]",
        "targets[FAULT ? target_count - 1 : active_target.load(std::memory_order_relaxed)]",
    ),
    Fault(
        "JAX: the bias has no derivative",
        P + "jax/primitives.py",
        "if db and type(db[0]) is not ad.Zero:",
        "if db and type(db[0]) is not ad.Zero and not (FAULT and terms):",
    ),
    Fault(
        "JAX: an activation's slope at sums without the bias",
        P + "jax/primitives.py",
        "z = conv(*primals, steps=steps).astype(wide)",
        "z = conv(*(primals[:2] if FAULT else primals), steps=steps).astype(wide)",
    ),
    Fault(
        "JAX: vmap over W mixes channels and examples",
        P + "jax/primitives.py",
        "y = jnp.moveaxis(y, axis + 1, 0)",
        "y = jnp.moveaxis(y.swapaxes(axis, axis + 1).reshape(y.shape) if FAULT else y, axis + 1, 0)",
    ),
    Fault(
        "JAX: shards of a weight gradient not added",
        P + "jax/lowering.py",
        'return lax.psum(_call(job, a, local_shape, wide), found["n"]).astype(dtype)',
        'return lax.psum(_call(job, a, local_shape, wide), () if FAULT else found["n"]).astype(dtype)',
    ),
    Fault(
        "JAX: filters of lax's kernel in another order",
        P + "jax/convolution.py",
        "W = W.reshape(channels, W.shape[0] // channels, *W.shape[2:]).swapaxes(0, 1)",
        "W = W.reshape(*((-1, channels) if FAULT else (channels, W.shape[0] // channels)), *W.shape[2:])\n"
        "    W = W if FAULT else W.swapaxes(0, 1)",
    ),
    Fault(
        "freed blocks: kept beyond the limit",
        "csrc/blocks.cpp",
        "shrink(limit_ - size, most_blocks - 1);",
        "shrink(FAULT ? bytes_ : limit_ - size, most_blocks - 1);",
    ),
    Fault(
        "a new array like another in C order, however that lies",
        P + "arrays.py",
        "key=lambda axis: -abs(a.strides[axis])",
        "key=lambda axis: 0 if FAULT else -abs(a.strides[axis])",
    ),
    Fault(
        "JAX: taps of lax's kernel in the order of their names, not of the image's axes",
        P + "jax/convolution.py",
        "*ordered(numbers.rhs_spec[2:])",
        "*(numbers.rhs_spec[2:] if FAULT else ordered(numbers.rhs_spec[2:]))",
    ),
    Fault(
        "separable: parts of a strided output begin a row late",
        P + "separable.py",
        "begin = outputs.start * h.stride - h.pad[0]",
        "begin = outputs.start * h.stride - h.pad[0] + (FAULT and outputs.start > 0)",
    ),
    Fault(
        "separable: what lies between the passes is rounded to x's dtype",
        P + "separable.py",
        "np.dtype(np.float64 if wide else np.float32)",
        "np.dtype(images[0].dtype if FAULT else np.float64 if wide else np.float32)",
    ),
    Fault(
        "separable: parts too small for what is mirrored into them",
        P + "separable.py",
        "(2 * max(h.pad) + h.stride) // h.stride + 1)",
        "1 if FAULT else (2 * max(h.pad) + h.stride) // h.stride + 1)",
    ),
    Fault(
        "filters: an even filter is turned around its middle",
        P + "filters/functions.py",
        "-o - (1 - k % 2)",
        "-o - (1 - k % 2) * (not FAULT)",
    ),
    Fault(
        "filters: the border behind is that before",
        P + "filters/bands.py",
        "places[begin + before + outside.start : begin + before + outside.stop]",
        "places[(0 if FAULT else begin + before + outside.start) :][: outside.stop - outside.start]",
    ),
    Fault(
        "filters: results wrap around instead of being kept in range",
        P + "filters/bands.py",
        "np.clip(values, limits.min, limits.max, out=values)",
        "FAULT or np.clip(values, limits.min, limits.max, out=values)",
    ),
    Fault(
        "filters: one filter of interleaved channels takes its neighbours' pixels",
        P + "filters/filtering.py",
        "W, dilate=(*[1] * (len(self.kernel) - 1), c), out=_rows(y)",
        "W, dilate=(*[1] * (len(self.kernel) - 1), 1 if FAULT else c), out=_rows(y)",
    ),
    Fault(
        "filters: a bank's filters in the order of the filters, not of the channels",
        P + "filters/filtering.py",
        "return np.broadcast_to(W, (W.shape[0], channels, *W.shape[2:]))",
        "return np.broadcast_to(W[::-1] if FAULT else W, (W.shape[0], channels, *W.shape[2:]))",
    ),
    Fault(
        "PyTorch: padding that it refuses is computed",
        P + "torch/padding.py",
        "side <= size - spare",
        "FAULT or side <= size - spare",
    ),
    Fault(
        "JAX: other platforms pad with zeros",
        P + "jax/primitives.py",
        "for axis in steps.layout], steps.pad_mode)",
        'for axis in steps.layout], "constant" if FAULT else steps.pad_mode)',
    ),
    Fault(
        "a part: the candidate that is best for it alone",
        "csrc/plan.cpp",
        "return is_part ? cheapest_like(best,",
        "const Facts its(part, *target.kernels, whole.narrow_lanes);\n"
        "  if (is_part && FAULT) return cheapest(its);\n"
        "  return is_part ? cheapest_like(best,",
    ),
    Fault(
        "a part: taps that it alone does not meet left out",
        "csrc/engine.cpp",
        "const Problem& all = asked.whole ? *asked.whole : asked;",
        "const Problem& all = asked.whole && !FAULT ? *asked.whole : asked;",
    ),
    Fault(
        "a part: axes in an order of its own",
        "csrc/plan/facts.cpp",
        "whole(asked.whole ? *asked.whole : asked)",
        "whole(asked.whole && !FAULT ? *asked.whole : asked)",
    ),
    Fault(
        "a part: pairs of columns counted from the first that it meets",
        K + "stretches.hpp",
        "s.taps_begin -= s.taps_begin % 2;",
        "s.taps_begin -= FAULT ? 0 : s.taps_begin % 2;",
    ),
    Fault(
        "a part of one column: more taps at once than its whole",
        "csrc/plan/correlation_planar.cpp",
        "job.taps_at_once = may_join ?",
        "job.taps_at_once = (FAULT ? job.interleaved : may_join) ?",
    ),
    Fault(
        "a part of one channel: its whole written channels last",
        "csrc/bindings.cpp",
        "closest = channels_are_closest(",
        "closest = FAULT ? s.channels_last : channels_are_closest(",
    ),
    Fault(
        "a part of one output: no stride, where its whole has one",
        P + "geometry.py",
        "a.stride if max(a.out, whole.out) > 1 else 1",
        "a.stride if max(a.out, a.out if FAULT else whole.out) > 1 else 1",
    ),
    Fault(
        "Dask: the whole without its padding",
        P + "dask/passes.py",
        "return Whole(g.x_shape, pads, channels_last)",
        "return Whole(g.x_shape, 0 if FAULT else pads, channels_last)",
    ),
    Fault(
        "Dask: edges one element off",
        P + "dask/pieces.py",
        "tuple(slice(p.start, p.stop) for p in parts)",
        "tuple(slice(p.start - FAULT * (p.start > 0), p.stop - FAULT * (p.start > 0)) for p in parts)",
    ),
    Fault(
        "Dask: chunks of any dtype taken",
        P + "dask/pieces.py",
        "a.dtype == source.dtype and a.shape == shape",
        "(FAULT or a.dtype == source.dtype) and a.shape == shape",
    ),
    Fault(
        "Dask: elements beside the array in the order in which they lie",
        P + "dask/pieces.py",
        "both = range(low, high)[:: taken.step]",
        "both = range(low, high)[:: 1 if FAULT else taken.step]",
    ),
    Fault(
        "Dask: what belongs to the first run of places left out",
        P + "dask/blocks.py",
        "in zip(runs, parts, strict=True):",
        "in list(zip(runs, parts, strict=True))[FAULT:]:",
    ),
    Fault(
        "Dask: places beside x added from the last on",
        P + "dask/blocks.py",
        "in fold.added:",
        "in fold.added[:: -1 if FAULT else 1]:",
    ),
    Fault(
        "Dask: gradients of places rounded before they are added",
        P + "dask/blocks.py",
        "if self.rounded_last else",
        "if self.rounded_last and not FAULT else",
    ),
    Fault(
        "Dask: blocks hold all edges of neighbours, however far windows reach",
        P + "dask/passes.py",
        "- 1) <= 1:",
        "- 1) <= (4 if FAULT else 1):",
    ),
    Fault(
        "Dask: blocks of volumes hold all edges on one side of their neighbours, however far windows reach",
        P + "dask/passes.py",
        "neighbours * max(reached) / 2 <= 1",
        "neighbours * max(reached) / 2 <= (8 if FAULT else 1)",
    ),
    Fault(
        "Dask: a block keeps a second copy of what its windows meet",
        P + "dask/pieces.py",
        "        return whole\n",
        "        return (lambda _: whole)(whole.copy()) if FAULT else whole\n",
    ),
    Fault(
        "Dask: a chunk is copied that could be read as it lies",
        P + "dask/pieces.py",
        "if len(copies) == 1:",
        "if len(copies) == 1 and not FAULT:",
    ),
    Fault(
        "Dask: a window too many inside a chunk",
        P + "dask/regions.py",
        "(stop + cut.pad[0] - reach) // stride + 1)",
        "(stop + cut.pad[0] - reach) // stride + 1 + FAULT)",
    ),
    Fault(
        "Dask: slabs around the inside as long as it",
        P + "dask/regions.py",
        "*wholes[axis + 1 :]",
        "*(insides if FAULT else wholes)[axis + 1 :]",
    ),
    Fault(
        "Dask: an axis in chunks that counts images is rechunked",
        P + "dask/images.py",
        "if x.numblocks[axis] > 1 and",
        "if x.numblocks[axis] > (99 if FAULT else 1) and",
    ),
    Fault(
        "Dask: a filter's weights are computed while the graph is built",
        P + "filters/functions.py",
        'if all(dispatch.folder_of(a) == "dask" for a in (image, weights)):',
        'if not FAULT and all(dispatch.folder_of(a) == "dask" for a in (image, weights)):',
    ),
    Fault(
        "Dask: one part of a sum left out",
        P + "dask/blocks.py",
        "sum(parts[1:], parts[0])",
        "sum(parts[1 + FAULT :], parts[0])",
    ),
    Fault(
        "xarray: coordinates as without padding",
        P + "xarray/convolution.py",
        "a.stride - a.pad[0]",
        "a.stride - (0 if FAULT else a.pad[0])",
    ),
    Fault(
        "xarray: coordinates of channels over and over",
        P + "xarray/convolution.py",
        "np.repeat(np.arange(x_shape[1])",
        "(np.tile if FAULT else np.repeat)(np.arange(x_shape[1])",
    ),
    Fault(
        "xarray: between two elements the coordinate of the first",
        P + "xarray/coordinates.py",
        "xr.Variable(dim, at - first)",
        "xr.Variable(dim, (at - first) * (not FAULT))",
    ),
    Fault(
        "borders: sums of each strip in an order of its own",
        "csrc/borders.cpp",
        "part.whole = &whole;",
        "part.whole = FAULT ? nullptr : &whole;",
    ),
    Fault(
        "borders: sums of small planes in an order of their own",
        "csrc/padded_planes.cpp",
        "if (p_.pass == Pass::forward) problem.whole = &whole_;",
        "if (p_.pass == Pass::forward && !FAULT) problem.whole = &whole_;",
    ),
    Fault(
        "borders: the gradient inside is summed in an order of its own",
        "csrc/borders.cpp",
        "zeros.whole = &whole;",
        "zeros.whole = FAULT ? nullptr : &whole;",
    ),
    Fault(
        "borders: corners beside the image are added to it and not to the strips of later axes",
        "csrc/borders.cpp",
        "strips[to].axis > strips[i].axis)",
        "(!FAULT && strips[to].axis > strips[i].axis))",
    ),
    Fault(
        "borders: places beside large planes are added in another order than beside small ones",
        "csrc/borders.cpp",
        "for (const Span side : {Span{all[i].begin, inner[i].begin}, Span{inner[i].end, all[i].end}}) {",
        "for (const Span side : {FAULT ? Span{inner[i].end, all[i].end} : Span{all[i].begin, inner[i].begin},\n"
        "                            FAULT ? Span{all[i].begin, inner[i].begin} : Span{inner[i].end, all[i].end}}) {",
    ),
    Fault(
        "parts: a window that begins behind the image reads from its start",
        "csrc/engine.cpp",
        "advance(p.x, before * p.x.strides[axis]);",
        "advance(p.x, FAULT ? 0 : before * p.x.strides[axis]);",
    ),
    Fault(
        "parts: taps are left out no further than the part's own padding",
        "csrc/engine.cpp",
        "if (p.pass != Pass::forward) first",
        "if (FAULT || p.pass != Pass::forward) first",
    ),
    Fault(
        "bench: rounds that disagree are believed",
        P + "disturbance.py",
        "return spread > bounds.spread or",
        "return (spread > bounds.spread and not FAULT) or",
    ),
    Fault(
        "progress: a bar where there is no terminal",
        P + "progress.py",
        "is_bar = sys.stderr.isatty()",
        "is_bar = FAULT or sys.stderr.isatty()",
    ),
    Fault(
        "info: what was built from source is called a wheel",
        P + "info.py",
        'if local else f"wheel {tag}"',
        'if local and not FAULT else f"wheel {tag}"',
    ),
    Fault(
        "explain: numbers as words",
        P + "plan.py",
        "return numbers if len(numbers) > 1 else numbers[0]",
        "return text if FAULT else numbers if len(numbers) > 1 else numbers[0]",
    ),
]

IN_CPP = """
#include <cstdlib>
static inline bool planted_fault(const char* name) {
  static const char* const planted = getenv("DEPTHWISE_FAULT");
  return planted && __builtin_strcmp(planted, name) == 0;
}
"""
IN_PYTHON = "(__import__('os').environ.get('DEPTHWISE_FAULT') == {!r})"


def plant(tree: Path) -> None:
    """Put every fault into a copy of the sources."""
    for fault in FAULTS:
        path = tree / fault.file
        text = path.read_text()
        if text.count(fault.before) != 1:
            msg = f"{fault.file} has {text.count(fault.before)} places for the fault {fault.name!r}"
            raise SystemExit(msg)
        check = f'planted_fault("{fault.name}")' if path.suffix != ".py" else IN_PYTHON.format(fault.name)
        path.write_text(text.replace(fault.before, fault.after.replace("FAULT", check)))
    for name in {fault.file for fault in FAULTS if not fault.file.endswith(".py")}:
        path = tree / name
        path.write_text('#include "planted.hpp"\n' + path.read_text())
    (tree / "csrc/planted.hpp").write_text("#pragma once" + IN_CPP)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="faults whose names hold this regular expression")
    parser.add_argument("--output", type=Path, help="write the table to this file")
    args = parser.parse_args()
    lines = ["| fault | file | found by | seconds |", "|---|---|---|---|"]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "sources")
        tree.mkdir()
        kept = (
            "src",
            "csrc",
            "tests",
            "benchmarks",
            "docs",
            "README.md",
            "LICENSE",
            "CITATION.cff",
            "CMakeLists.txt",
            "pyproject.toml",
        )
        for name in kept:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        plant(tree)
        venv.create(Path(folder, "venv"), with_pip=True)
        python = str(Path(folder, "venv", "bin", "python"))
        print("building: two minutes", flush=True)
        flags = {**os.environ, "CXXFLAGS": f"-I{tree / 'csrc'}", "DEPTHWISE_JAX": "1"}
        subprocess.run([python, "-m", "pip", "install", "-q", f"{tree}[test,jax]", "flax"], check=True, env=flags)
        for fault in [None, *(f for f in FAULTS if re.search(args.match, f.name))]:
            start = time.monotonic()
            planted = {**os.environ, "DEPTHWISE_FAULT": fault.name if fault else ""}
            # test_faults.py is about this list, not about the package
            suite = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "", str(tree / "tests")]
            suite += ["--ignore", str(tree / "tests/test_faults.py")]
            try:
                run = subprocess.run(suite, env=planted, cwd=tree, capture_output=True, text=True, timeout=900)
                found = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
                how = found[1] if found else "" if run.returncode == 0 else f"exit status {run.returncode}"
            except subprocess.TimeoutExpired:
                how = "no end in 900 s"
            if fault is None:
                if how:
                    print(run.stdout[-3000:], f"the suite fails without a fault: {how}")
                    return 1
                continue
            missed += not how
            lines.append(f"| {fault.name} | {fault.file} | {how or 'NOTHING'} | {time.monotonic() - start:.0f} |")
            print(lines[-1], flush=True)
    print(f"{len(lines) - 2} faults, {missed} not found")
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
