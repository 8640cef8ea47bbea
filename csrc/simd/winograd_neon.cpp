// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod.
#define JAHP_VECTOR_BYTES 16
#include "simd/winograd_loop.hpp"

namespace jahp {

void winograd_input_neon(const WinogradInput& w) { input_loop(w); }
void winograd_output_neon(const WinogradOutput& w) { output_loop(w); }

}  // namespace jahp
