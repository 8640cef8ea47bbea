// SPDX-License-Identifier: Apache-2.0
// The oracle of the other instruction sets; 16 bytes are what every compiler can split.
#define JAHP_VECTOR_BYTES 16
#include "simd/winograd_loop.hpp"

namespace jahp {

void winograd_input_scalar(const WinogradInput& w) { input_loop(w); }
void winograd_output_i16_scalar(const WinogradOutput<std::int16_t>& w) { output_loop(w); }
void winograd_output_i32_scalar(const WinogradOutput<std::int32_t>& w) { output_loop(w); }

}  // namespace jahp
