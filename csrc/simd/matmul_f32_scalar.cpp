// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_f32.hpp"

namespace jahp {

void matmul_f32_scalar(const MatmulF32& m) {
    const float* weights = m.b;
    for (int block = 0; block < m.blocks; ++block) {
        for (int p = 0; p < m.positions; ++p) {
            float* c = m.c + p * m.c_stride + block * kMatmulBlock;
            float sums[kMatmulBlock];
            for (int o = 0; o < kMatmulBlock; ++o)
                sums[o] = m.add ? c[o] : m.start != nullptr ? m.start[block * kMatmulBlock + o] : 0;
            const float* b = weights;
            for (int s = 0; s < m.segments; ++s) {
                const float* a = m.a[s] + p * m.a_stride;
                for (int k = 0; k < m.depth; ++k, b += kMatmulBlock)
                    for (int o = 0; o < kMatmulBlock; ++o) sums[o] += a[k] * b[o];
            }
            for (int o = 0; o < kMatmulBlock; ++o) c[o] = sums[o];
        }
        weights += static_cast<std::ptrdiff_t>(m.segments) * m.depth * kMatmulBlock;
    }
}

}  // namespace jahp
