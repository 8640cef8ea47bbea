// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod.
#include "simd/gdn_loop.hpp"

namespace jahp {

void gdn_squares_neon(const float* x, std::ptrdiff_t count, float* squares) { squares_loop(x, count, squares); }
void gdn_divide_neon(float* x, std::ptrdiff_t count, const float* norm) { divide_loop(x, count, norm); }
void gdn_multiply_neon(float* x, std::ptrdiff_t count, const float* norm) { multiply_loop(x, count, norm); }
void gdn_multiply_keep_neon(float* x, std::ptrdiff_t count, const float* norm, float* roots) {
    multiply_keep_loop(x, count, norm, roots);
}
void gdn_local_neon(float* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const float* steady,
                    const float* varying, const float* roots, float* squares) {
    local_loop(x, positions, channels, steady, varying, roots, squares);
}

}  // namespace jahp
