// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f.
#include "simd/gdn_loop.hpp"

namespace jahp {

void gdn_squares_avx512vnni(const float* x, std::ptrdiff_t count, float* squares) { squares_loop(x, count, squares); }
void gdn_divide_avx512vnni(float* x, std::ptrdiff_t count, const float* norm) { divide_loop(x, count, norm); }
void gdn_multiply_avx512vnni(float* x, std::ptrdiff_t count, const float* norm) { multiply_loop(x, count, norm); }

}  // namespace jahp
