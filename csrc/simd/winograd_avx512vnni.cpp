// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs.
#define JAHP_VECTOR_BYTES 64
#include "simd/winograd_loop.hpp"

namespace jahp {

void winograd_input_avx512vnni(const WinogradInput& w) { input_loop(w); }
void winograd_output_i16_avx512vnni(const WinogradOutput<std::int16_t>& w) { output_loop(w); }
void winograd_output_i32_avx512vnni(const WinogradOutput<std::int32_t>& w) { output_loop(w); }

}  // namespace jahp
