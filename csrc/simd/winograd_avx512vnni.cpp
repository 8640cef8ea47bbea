// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f.
#define JAHP_VECTOR_BYTES 64
#include "simd/winograd_loop.hpp"

namespace jahp {

void winograd_input_avx512vnni(const WinogradInput& w) { input_loop(w); }
void winograd_output_avx512vnni(const WinogradOutput& w) { output_loop(w); }

}  // namespace jahp
