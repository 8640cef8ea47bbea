// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <limits>

#include "simd/matmul_bf16.hpp"

namespace jahp {
namespace {

float flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

float low(std::uint32_t pair) { return flushed(std::bit_cast<float>(pair << 16)); }
float high(std::uint32_t pair) { return flushed(std::bit_cast<float>(pair & 0xffff0000u)); }

std::uint32_t narrowed(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(flushed(x));
    if (std::isnan(x)) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace

std::uint32_t bf16_pair(float even, float odd) { return narrowed(even) | narrowed(odd) << 16; }

void narrow_bf16_scalar(const float* x, std::ptrdiff_t count, std::uint32_t* out) {
    for (std::ptrdiff_t i = 0; i < count; i += 2) *out++ = bf16_pair(x[i], x[i + 1]);
}

void matmul_bf16_scalar(const MatmulBf16& m) {
    const MatmulF32Kernel packed{kBf16Panel, nullptr};
    for (int p = 0; p < m.positions; ++p)
        for (int o = 0; o < m.blocks * kMatmulBlock; ++o) {
            float& c = m.c[p * m.c_stride + o];
            float sum = m.add ? c : m.start != nullptr ? m.start[o] : 0;
            for (int k = 0; k < m.pairs; ++k) {
                const std::uint32_t a = m.a[p * m.a_stride + k], b = m.b[packed.pack_index(m.blocks, m.pairs, k, o)];
                sum = flushed(std::fma(high(a), high(b), flushed(sum)));
                sum = flushed(std::fma(low(a), low(b), sum));
            }
            c = sum;
        }
}

}  // namespace jahp
