// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// P positions by one block of 16 outputs: with P = 6, 24 accumulators, four weights and one input of 32 registers.
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
    const int8_t* in = static_cast<const int8_t*>(a.in) + p0 * stride;
    const auto* weight = reinterpret_cast<const int8_t*>(a.weight) + b0 * a.block_stride;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const int8_t* w = weight + static_cast<ptrdiff_t>(g->weight) * 64;
        const int8_t* x = in + g->input;
        int8x16_t four[4];
        JAHP_UNROLL for (int q = 0; q < 4; ++q)
            four[q] = vld1q_s8(w + q * 16);
        JAHP_UNROLL for (int p = 0; p < P; ++p) {
            const int8x16_t v = vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(x + p * stride)));
            JAHP_UNROLL for (int q = 0; q < 4; ++q)
                acc[p][q] = vdotq_s32(acc[p][q], four[q], v);
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int q = 0; q < 4; ++q) vst1q_s32(sums + p * a.sums_stride + q * 4, acc[p][q]);
}

using Tile = void (*)(const DotArguments&, int, int);
constexpr Tile kTiles[7] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void dot_i8_neon(const DotArguments& a) {
    const int shares = (a.positions + 5) / 6;
    for (int b = 0; b < a.blocks; ++b)
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (a.positions - p) / (shares - s);
            kTiles[n](a, p, b);
            p += n;
        }
}

}  // namespace jahp
