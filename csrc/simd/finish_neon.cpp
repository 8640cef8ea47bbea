// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod.
#include "simd/finish_loop.hpp"

namespace jahp {

void finish_i16_neon(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                     const FinishTable& t, std::int16_t* out, std::ptrdiff_t out_stride) {
    finish_loop(sums, sums_stride, positions, channels, t, out, out_stride);
}
void finish_i32_neon(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                     const FinishTable& t, std::int32_t* out, std::ptrdiff_t out_stride) {
    finish_loop(sums, sums_stride, positions, channels, t, out, out_stride);
}
void finish_u8_neon(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                    const FinishTable& t, std::uint8_t* out, std::ptrdiff_t out_stride) {
    finish_loop(sums, sums_stride, positions, channels, t, out, out_stride);
}

}  // namespace jahp
