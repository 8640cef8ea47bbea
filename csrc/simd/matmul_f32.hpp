// SPDX-License-Identifier: Apache-2.0
// Products of float matrices, the inner loop of g_a, h_a and g_s.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kMatmulBlock = 16;  // outputs that are packed together

// c[p * c_stride + o] (+)= sum over segments s, depths k of a[s][p * a_stride + k] * b(s, k, o), for p < positions, o <
// 16 * blocks, from `start[o]` (null: 0), or from what c holds where `add`. The sum runs over s, then k, in order,
// whatever the other arguments are: an output depends on its own inputs alone. c does not overlap the rest.
struct MatmulF32 {
    const float* const* a;
    std::ptrdiff_t a_stride;
    int positions;
    int segments, depth;
    const float* b;  // as MatmulF32Kernel::pack_index says, 64-byte aligned
    int blocks;
    const float* start;
    float* c;
    std::ptrdiff_t c_stride;
    bool add;
};

// Blocks that lie beside one another in packed weights; never one alone after wider ones, which would leave a kernel
// short of sums.
static inline int matmul_panel(int blocks_left, int widest) {
    return blocks_left <= widest ? blocks_left : blocks_left == widest + 1 && widest > 2 ? widest - 1 : widest;
}

struct MatmulF32Kernel {
    int panel;  // the widest: 1 or 4 blocks
    void (*run)(const MatmulF32&);

    // Where b holds the weight of step k (0 <= k < depth: the depths of all segments, one after the other) and output
    // o.
    std::size_t pack_index(int blocks, int depth, int k, int o) const;
};

MatmulF32Kernel matmul_f32_for(Isa isa);

void matmul_f32_scalar(const MatmulF32& m);
#if defined(__x86_64__)
void matmul_f32_avx2(const MatmulF32& m);
void matmul_f32_avx512vnni(const MatmulF32& m);
#elif defined(__aarch64__)
void matmul_f32_neon(const MatmulF32& m);
#endif

}  // namespace jahp
