// SPDX-License-Identifier: Apache-2.0
// Products of bfloat16 pairs with float32 sums: the opt-in form of simd/matmul_f32.hpp, twice as fast and less exact.
//
// A word holds two bfloat16, the even index in its low half. A step adds a word's two products as AVX512-BF16's
// vdpbf16ps does:
//     sum = fma(a.high, b.high, sum), then sum = fma(a.low, b.low, sum)
// each rounded to nearest even, with subnormal numbers taken and given as zeros of their sign. The scalar version does
// the same by hand and is the oracle, bit for bit but for which NaN a NaN is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/matmul_f32.hpp"

namespace jahp {

// c[p * c_stride + o] (+)= sum over k < pairs of the products of a[p * a_stride + k] and b(k, o), from `start[o]`
// (null: 0), or from what c holds where `add`; k in order. Panels of b as MatmulF32Kernel::pack_index of the same
// kernel's panel says, a word where that has a float.
struct MatmulBf16 {
    const std::uint32_t* a;
    std::ptrdiff_t a_stride;
    int positions, pairs;
    const std::uint32_t* b;
    int blocks;
    const float* start;
    float* c;
    std::ptrdiff_t c_stride;
    bool add;
};

struct MatmulBf16Kernel {
    void (*run)(const MatmulBf16&);
    // Rounds `count` floats, a multiple of 16, to nearest even; subnormal ones become 0.
    void (*narrow)(const float* x, std::ptrdiff_t count, std::uint32_t* out);
};

constexpr int kBf16Panel = 4;

bool cpu_has_bf16();

// Of this CPU; the scalar one where it has none.
MatmulBf16Kernel matmul_bf16();

std::uint32_t bf16_pair(float low, float high);  // rounded as narrow does

void matmul_bf16_scalar(const MatmulBf16& m);
void narrow_bf16_scalar(const float* x, std::ptrdiff_t count, std::uint32_t* out);
#if defined(__x86_64__)
void matmul_bf16_avx512bf16(const MatmulBf16& m);
void narrow_bf16_avx512bf16(const float* x, std::ptrdiff_t count, std::uint32_t* out);
#endif

}  // namespace jahp
