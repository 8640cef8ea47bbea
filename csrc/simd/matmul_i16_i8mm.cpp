// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod+i8mm: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/matmul_i16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// One instruction multiplies two outputs by two positions over eight depths of bytes. A weight is 256 high + low and an
// activation 256 high + low + 128, `low` of weights without a sign and the rest with one: four products, summed apart
// by their power of two. What 128 adds is the sum of an output's weights, the same at every position.
constexpr int kGroup = 8, kOutputs = 4, kPairs = kOutputs / 2;
constexpr int kMost = 3;  // pairs of positions: 18 of 32 registers are sums
constexpr int kGroupWeights = kGroup * kMatmulBlock;

struct Weights {
    uint8x16_t low;
    int8x16_t high;
};

Weights two_outputs(const int16_t* b) {
    const int8x16_t first = vreinterpretq_s8_s16(vld1q_s16(b)), second = vreinterpretq_s8_s16(vld1q_s16(b + kGroup));
    return {vreinterpretq_u8_s8(vuzp1q_s8(first, second)), vuzp2q_s8(first, second)};
}

// 128 times the sums of the weights of each pair of outputs, twice each: as results of two positions lie.
void biases(const int16_t* b, int groups, int32x4_t (&out)[kPairs]) {
    const int8x16_t ones = vdupq_n_s8(1);
    JAHP_UNROLL for (int j = 0; j < kPairs; ++j) {
        int32x4_t low = vdupq_n_s32(0), high = low;
        const int16_t* from = b + j * 2 * kGroup;
        for (int g = 0; g < groups; ++g, from += kGroupWeights) {
            const Weights w = two_outputs(from);
            low = vusmmlaq_s32(low, w.low, ones);
            high = vmmlaq_s32(high, w.high, ones);
        }
        out[j] = vshlq_n_s32(vaddq_s32(low, vshlq_n_s32(high, 8)), 7);
    }
}

// kTwos pairs of positions from p on; the last of them is not there if `odd`.
template <int kTwos>
void tile(const MatmulI16& m, int p, bool odd, const int16_t* b, const int32x4_t (&bias)[kPairs], int output) {
    int32x4_t low[kTwos][kPairs], middle[kTwos][kPairs], high[kTwos][kPairs];
    JAHP_UNROLL for (int r = 0; r < kTwos; ++r) JAHP_UNROLL
        for (int j = 0; j < kPairs; ++j) {
            low[r][j] = bias[j];
            middle[r][j] = high[r][j] = vdupq_n_s32(0);
        }
    const ptrdiff_t stride = m.a_stride, last = odd ? 2 * kTwos - 2 : 2 * kTwos - 1;
    for (int s = 0; s < m.segments; ++s) {
        const int16_t* a = m.a[s] + p * stride;
        for (int k = 0; k < 2 * m.pairs; k += kGroup, a += kGroup, b += kGroupWeights) {
            int8x16_t a_low[kTwos], a_high[kTwos];
            JAHP_UNROLL for (int r = 0; r < kTwos; ++r) {
                const int8x16_t first = vreinterpretq_s8_s16(vld1q_s16(a + 2 * r * stride)),
                                second = vreinterpretq_s8_s16(
                                    vld1q_s16(a + (r == kTwos - 1 ? last : 2 * r + 1) * stride));
                a_low[r] = veorq_s8(vuzp1q_s8(first, second), vdupq_n_s8(-128));
                a_high[r] = vuzp2q_s8(first, second);
            }
            JAHP_UNROLL for (int j = 0; j < kPairs; ++j) {
                const Weights w = two_outputs(b + j * 2 * kGroup);
                JAHP_UNROLL for (int r = 0; r < kTwos; ++r) {
                    low[r][j] = vusmmlaq_s32(low[r][j], w.low, a_low[r]);
                    middle[r][j] = vusmmlaq_s32(middle[r][j], w.low, a_high[r]);
                    middle[r][j] = vmmlaq_s32(middle[r][j], w.high, a_low[r]);
                    high[r][j] = vmmlaq_s32(high[r][j], w.high, a_high[r]);
                }
            }
        }
    }
    const int32x4_t start = m.start != nullptr ? vld1q_s32(m.start + output) : vdupq_n_s32(0);
    JAHP_UNROLL for (int r = 0; r < kTwos; ++r) {
        const auto sum = [&](int j) {
            return vaddq_s32(low[r][j], vaddq_s32(vshlq_n_s32(middle[r][j], 8), vshlq_n_s32(high[r][j], 16)));
        };
        const int32x4_t first = sum(0), second = sum(1);  // two outputs each, of two positions
        int32_t* const c = m.c + (p + 2 * r) * m.c_stride + output;
        vst1q_s32(c, vaddq_s32(vuzp1q_s32(first, second), start));
        if (r < kTwos - 1 || !odd) vst1q_s32(c + m.c_stride, vaddq_s32(vuzp2q_s32(first, second), start));
    }
}

using Tile = void (*)(const MatmulI16&, int, bool, const int16_t*, const int32x4_t (&)[kPairs], int);
constexpr Tile kTiles[kMost + 1] = {nullptr, tile<1>, tile<2>, tile<3>};

}  // namespace

void matmul_i16_i8mm(const MatmulI16& m) {
    const int groups = m.segments * m.pairs / (kGroup / 2);
    for (int output = 0; output < m.blocks * kMatmulBlock; output += kOutputs) {
        const int16_t* const b = m.b + (ptrdiff_t)(output / kMatmulBlock) * groups * kGroupWeights +
                                 output % kMatmulBlock * kGroup;
        int32x4_t bias[kPairs];
        biases(b, groups, bias);
        const int twos = (m.positions + 1) / 2, shares = (twos + kMost - 1) / kMost;
        for (int share = 0, p = 0; share < shares; ++share) {
            const int n = (twos - p / 2) / (shares - share);
            kTiles[n](m, p, p + 2 * n > m.positions, b, bias, output);
            p += 2 * n;
        }
    }
}

}  // namespace jahp
