// SPDX-License-Identifier: Apache-2.0
// Products of matrices of 16-bit integers, the inner loop of g_a, h_a and g_s.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kMatmulBlock = 16;  // outputs that are packed together

// c[p * c_stride + o] = start[o] + sum over segments s, depths k of a[s][p * a_stride + k] * b(s, k, o), modulo 2^32,
// for p < positions, o < 16 * blocks, k < 2 * pairs. Whatever the values are, the sums are right modulo 2^32: the order
// of summation does not matter. c does not overlap the rest.
struct MatmulI16 {
    const std::int16_t* const* a;  // no alignment is required
    std::ptrdiff_t a_stride;
    int positions;
    int segments, pairs;
    const std::int16_t* b;  // as MatmulI16Kernel::pack_index says, 64-byte aligned
    int blocks;
    const std::int32_t* start;  // null: zeros
    std::int32_t* c;
    std::ptrdiff_t c_stride;
};

struct MatmulI16Kernel {
    int panel;  // blocks that lie beside one another in packed weights: 1 or 2
    int group;  // depths of an output that do: 2, or 8 where segments have multiples of 8
    void (*run)(const MatmulI16&);

    // Where b holds the weight of depth k (0 <= k < depth: those of all segments, 2 * pairs each, one after the other)
    // and output o.
    std::size_t pack_index(int blocks, int depth, int k, int o) const;
};

// pairs: of the segments that it will be given, or a number that divides all of theirs.
MatmulI16Kernel matmul_i16_for(Isa isa, int pairs);

void matmul_i16_scalar(const MatmulI16& m);
#if defined(__x86_64__)
void matmul_i16_avx2(const MatmulI16& m);
void matmul_i16_avx512vnni(const MatmulI16& m);
#elif defined(__aarch64__)
void matmul_i16_neon(const MatmulI16& m);
void matmul_i16_i8mm(const MatmulI16& m);
#elif defined(__wasm__)
void matmul_i16_wasm(const MatmulI16& m);
#endif

}  // namespace jahp
