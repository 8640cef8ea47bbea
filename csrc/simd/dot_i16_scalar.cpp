// SPDX-License-Identifier: Apache-2.0
#include "simd/dot.hpp"

namespace jahp {
namespace {

constexpr int kTile = 8;  // positions that a group's weights are parted for at once

// Not inlined: gcc 12 would vectorise the loop over positions around it too, and then reads activations of positions
// beyond the last.
[[gnu::noinline]] void add_products(std::int32_t* sum, std::int16_t x0, std::int16_t x1, const std::int16_t* first,
                                    const std::int16_t* second) {
    for (int o = 0; o < kDotOutputs; ++o) sum[o] += x0 * first[o] + x1 * second[o];
}

// Weights of the two inputs of a group apart: so compilers find the products of 16-bit integers that any vector unit
// has.
void tile(const DotArguments& a, int p0, int positions, int block) {
    std::int32_t sum[kTile][kDotOutputs];
    std::int32_t* out = a.sums + p0 * a.sums_stride + block * kDotOutputs;
    for (int p = 0; p < positions; ++p)
        for (int o = 0; o < kDotOutputs; ++o)
            sum[p][o] = (a.start == nullptr ? 0 : a.start[p0 + p]) + (a.add ? out[p * a.sums_stride + o] : 0);
    const std::int16_t* in = static_cast<const std::int16_t*>(a.in) + p0 * a.in_stride;
    const auto* weight = reinterpret_cast<const std::int8_t*>(a.weight) + block * a.block_stride;
    for (int g = 0; g < a.group_count; ++g) {
        const std::int8_t* w = weight + std::ptrdiff_t{a.groups[g].weight} * 32;
        std::int16_t first[kDotOutputs], second[kDotOutputs];
        for (int o = 0; o < kDotOutputs; ++o) {
            first[o] = w[2 * o];
            second[o] = w[2 * o + 1];
        }
        for (int p = 0; p < positions; ++p) {
            const std::int16_t* x = in + p * a.in_stride + a.groups[g].input;
            add_products(sum[p], x[0], x[1], first, second);
        }
    }
    for (int p = 0; p < positions; ++p)
        for (int o = 0; o < kDotOutputs; ++o) out[p * a.sums_stride + o] = sum[p][o];
}

}  // namespace

void dot_i16_scalar(const DotArguments& a) {
    for (int b = 0; b < a.blocks; ++b)
        for (int p = 0; p < a.positions; p += kTile) tile(a, p, a.positions - p < kTile ? a.positions - p : kTile, b);
}

}  // namespace jahp
