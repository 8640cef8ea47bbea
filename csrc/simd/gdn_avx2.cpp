// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mfma.
#include "simd/gdn_loop.hpp"

namespace jahp {

void gdn_squares_avx2(const float* x, std::ptrdiff_t count, float* squares) { squares_loop(x, count, squares); }
void gdn_divide_avx2(float* x, std::ptrdiff_t count, const float* norm) { divide_loop(x, count, norm); }
void gdn_multiply_avx2(float* x, std::ptrdiff_t count, const float* norm) { multiply_loop(x, count, norm); }

}  // namespace jahp
