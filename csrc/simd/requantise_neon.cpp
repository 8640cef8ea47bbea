// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

// Two products rounded and shifted, in 64 bits. `down` is minus the shift: vshlq shifts right by negative numbers.
int64x2_t round(int32x2_t sum, int32x2_t mul, int64x2_t down) {
    const int64x2_t half = vshlq_s64(vdupq_n_s64(1), vsubq_s64(vnegq_s64(down), vdupq_n_s64(1)));
    return vshlq_s64(vaddq_s64(vmull_s32(sum, mul), half), down);
}

int32x4_t four(int32x4_t sum, const RequantTable& t, int o) {
    sum = vaddq_s32(sum, vld1q_s32(t.bias + o));
    const int32x4_t mul = vbslq_s32(vcltzq_s32(sum), vld1q_s32(t.mul_neg + o), vld1q_s32(t.mul_pos + o)),
                    down = vnegq_s32(vld1q_s32(t.shift + o));
    const int64x2_t low = round(vget_low_s32(sum), vget_low_s32(mul), vmovl_s32(vget_low_s32(down)));
    const int64x2_t high = round(vget_high_s32(sum), vget_high_s32(mul), vmovl_s32(vget_high_s32(down)));
    const int32x4_t both = vaddq_s32(vcombine_s32(vmovn_s64(low), vmovn_s64(high)), vld1q_s32(t.zero + o));
    return vmaxq_s32(vminq_s32(both, vdupq_n_s32(t.limit)), vdupq_n_s32(-t.limit));
}

template <typename Out>
void requantise(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first, int blocks,
                Out* out, ptrdiff_t out_stride) {
    for (int i = 0; i < 16 * blocks; i += 4)
        for (int p = 0; p < positions; ++p) {
            const int32x4_t v = four(vld1q_s32(sums + p * sums_stride + i), t, first + i);
            int32_t values[4];
            vst1q_s32(values, v);
            for (int e = 0; e < 4; ++e) out[p * out_stride + i + e] = static_cast<Out>(values[e]);
        }
}

}  // namespace

void requantise_i8_neon(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                        int blocks, int8_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i16_neon(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int16_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i32_neon(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int32_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}

}  // namespace jahp
