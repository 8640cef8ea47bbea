// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#define JAHP_VECTOR_BYTES 16
#include "simd/winograd_loop.hpp"

namespace jahp {

void winograd_input_wasm(const WinogradInput& w) { input_loop(w); }
void winograd_output_i16_wasm(const WinogradOutput<std::int16_t>& w) { output_loop(w); }
void winograd_output_i32_wasm(const WinogradOutput<std::int32_t>& w) { output_loop(w); }

}  // namespace jahp
