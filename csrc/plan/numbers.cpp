// The numbers by name, for those who measure them.
#include "numbers.hpp"

#include <cstring>
#include <variant>

namespace depthwise {
namespace {

struct Place {
  const char* name;
  std::variant<int64_t*, double*> number;
};

#define FIXED(name) {#name, &numbers.fixed.name}
const Place fixed[] = {FIXED(transposing_cost),
                       FIXED(transposing_products_cost),
                       FIXED(plane_cost),
                       FIXED(listed_line_cost),
                       FIXED(widest_shared_line),
                       FIXED(uncached_bytes),
                       FIXED(packing_cost),
                       FIXED(gathering_cost),
                       FIXED(scattering_cost),
                       FIXED(written_apart_cost),
                       FIXED(pairs_cost),
                       FIXED(interleaved_cost),
                       FIXED(pixel_line_cost),
                       FIXED(apart_cost),
                       FIXED(apart_row_cost),
                       FIXED(chains_cost),
                       FIXED(stack_cost),
                       FIXED(lone_cost),
                       FIXED(row_cost),
                       FIXED(line_cost),
                       FIXED(transposed_row_cost),
                       FIXED(transposed_sums_cost),
                       FIXED(first_row_cost),
                       FIXED(first_pixel_cost),
                       FIXED(few_taps_cost),
                       FIXED(many_taps_cost),
                       FIXED(ends_cost),
                       FIXED(apart_line_cost),
                       FIXED(apart_vector_cost),
                       FIXED(scattered_cost),
                       FIXED(idle_cost),
                       FIXED(strided_cost),
                       FIXED(transposed_cost),
                       FIXED(crowding_taps),
                       FIXED(most_crowding),
                       FIXED(least_paired_bytes),
                       FIXED(ways),
                       FIXED(way_bytes),
                       FIXED(crowding_chunk),
                       FIXED(crowding_rows),
                       FIXED(crowding_products),
                       FIXED(staged_taps),
                       FIXED(packed_bytes),
                       FIXED(most_packed_bytes),
                       FIXED(most_scratch_bytes),
                       FIXED(converted_bytes),
                       FIXED(most_converted_bytes),
                       FIXED(direct_strip),
                       FIXED(shared_rows_bytes),
                       FIXED(staged_strip),
                       FIXED(line_strip),
                       FIXED(widest_window),
                       FIXED(widest_stride),
                       FIXED(least_line_group),
                       FIXED(staged_line_group),
                       FIXED(staged_lines),
                       FIXED(widest_staged_lines),
                       FIXED(least_band),
                       FIXED(least_strip),
                       FIXED(wide_strip),
                       FIXED(gradient_band),
                       FIXED(radix_2_cost),
                       FIXED(radix_3_cost),
                       FIXED(radix_4_cost),
                       FIXED(radix_5_cost),
                       FIXED(plane_row_cost),
                       FIXED(first_transform_cost),
                       FIXED(most_spectral_bytes),
                       FIXED(gradient_units),
                       FIXED(gradient_pixels),
                       FIXED(sums_bytes),
                       FIXED(gradient_columns),
                       FIXED(fewest_gradient_columns)};
#undef FIXED
#define MACHINE(name) {#name, &numbers.machine.name}
const Place of_machine[] = {MACHINE(tile_share),          MACHINE(sliced_share),         MACHINE(many_taps),
                            MACHINE(few_places),          MACHINE(converted_group),      MACHINE(least_taken_down),
                            MACHINE(band_rows),           MACHINE(packed_share),         MACHINE(streamed_share),
                            MACHINE(window_share),        MACHINE(fetched_share),        MACHINE(fetched_planes_share),
                            MACHINE(fetched_band_share),  MACHINE(widest_fetched_bytes), MACHINE(least_staged_bytes),
                            MACHINE(widest_staged_bytes), MACHINE(serial_flop)};
#undef MACHINE
// Every number takes eight bytes: none is left out.
static_assert(sizeof(fixed) / sizeof(Place) == sizeof(FixedNumbers) / 8);
static_assert(sizeof(of_machine) / sizeof(Place) == sizeof(MachineNumbers) / 8);

}  // namespace

std::vector<NamedNumber> all_numbers() {
  std::vector<NamedNumber> all;
  const auto value = [](const auto* number) { return static_cast<double>(*number); };
  for (const Place& p : fixed) all.push_back({p.name, true, std::visit(value, p.number)});
  for (const Place& p : of_machine) all.push_back({p.name, false, std::visit(value, p.number)});
  return all;
}

bool set_number(const char* name, double value) {
  const auto set = [&](auto* number) { *number = static_cast<std::remove_pointer_t<decltype(number)>>(value); };
  bool found = false;
  const auto look = [&](const Place& p) {
    if (std::strcmp(p.name, name) != 0) return;
    std::visit(set, p.number);
    found = true;
  };
  for (const Place& p : fixed) look(p);
  for (const Place& p : of_machine) look(p);
  return found;
}

}  // namespace depthwise
