// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// P positions by one block of 16 outputs. There is no instruction that sums pairs of 16-bit products: the two inputs of
// a group are taken one after the other, by weights that are parted on the way in.
template <int P>
void tile(const DotArguments& a, int p0, int b0) {
    int32x4_t acc[P][4];
    const ptrdiff_t stride = a.in_stride;
    int32_t* sums = a.sums + p0 * a.sums_stride + b0 * kDotOutputs;
    JAHP_UNROLL for (int p = 0; p < P; ++p) {
        const int32x4_t start = vdupq_n_s32(a.start == nullptr ? 0 : a.start[p0 + p]);
        JAHP_UNROLL for (int q = 0; q < 4; ++q)
            acc[p][q] = a.add ? vaddq_s32(start, vld1q_s32(sums + p * a.sums_stride + q * 4)) : start;
    }
    const int16_t* in = static_cast<const int16_t*>(a.in) + p0 * stride;
    const auto* weight = reinterpret_cast<const int8_t*>(a.weight) + b0 * a.block_stride;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const int8x16x2_t parted = vld2q_s8(weight + static_cast<ptrdiff_t>(g->weight) * 32);
        const int16_t* x = in + g->input;
        JAHP_UNROLL for (int e = 0; e < 2; ++e) {
            const int16x8_t low = vmovl_s8(vget_low_s8(parted.val[e])), high = vmovl_s8(vget_high_s8(parted.val[e]));
            JAHP_UNROLL for (int p = 0; p < P; ++p) {
                const int16_t v = x[p * stride + e];
                acc[p][0] = vmlal_n_s16(acc[p][0], vget_low_s16(low), v);
                acc[p][1] = vmlal_n_s16(acc[p][1], vget_high_s16(low), v);
                acc[p][2] = vmlal_n_s16(acc[p][2], vget_low_s16(high), v);
                acc[p][3] = vmlal_n_s16(acc[p][3], vget_high_s16(high), v);
            }
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int q = 0; q < 4; ++q) vst1q_s32(sums + p * a.sums_stride + q * 4, acc[p][q]);
}

using Tile = void (*)(const DotArguments&, int, int);
constexpr Tile kTiles[7] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void dot_i16_neon(const DotArguments& a) {
    const int shares = (a.positions + 5) / 6;
    for (int b = 0; b < a.blocks; ++b)
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (a.positions - p) / (shares - s);
            kTiles[n](a, p, b);
            p += n;
        }
}

}  // namespace jahp
