// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_i16.hpp"

namespace jahp {

void matmul_i16_scalar(const MatmulI16& m) {
    const std::int16_t* weights = m.b;
    for (int block = 0; block < m.blocks; ++block) {
        for (int p = 0; p < m.positions; ++p) {
            std::uint32_t sums[kMatmulBlock];
            for (int o = 0; o < kMatmulBlock; ++o)
                sums[o] = static_cast<std::uint32_t>(m.start != nullptr ? m.start[block * kMatmulBlock + o] : 0);
            const std::int16_t* b = weights;
            for (int s = 0; s < m.segments; ++s) {
                const std::int16_t* a = m.a[s] + p * m.a_stride;
                for (int k = 0; k < m.pairs; ++k, a += 2, b += 2 * kMatmulBlock)
                    for (int o = 0; o < kMatmulBlock; ++o)
                        sums[o] += static_cast<std::uint32_t>(a[0] * b[2 * o]) +
                                   static_cast<std::uint32_t>(a[1] * b[2 * o + 1]);
            }
            std::int32_t* c = m.c + p * m.c_stride + block * kMatmulBlock;
            for (int o = 0; o < kMatmulBlock; ++o) c[o] = static_cast<std::int32_t>(sums[o]);
        }
        weights += static_cast<std::ptrdiff_t>(m.segments) * m.pairs * 2 * kMatmulBlock;
    }
}

}  // namespace jahp
