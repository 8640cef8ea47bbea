// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

struct Block {  // the constants of 16 outputs; 64-bit ones apart for even and odd outputs
    __m512i bias, mul_pos, mul_neg, zero, shift_even, shift_odd, half_even, half_odd;
};

__m512i half(__m512i shift) {
    return _mm512_sllv_epi64(_mm512_set1_epi64(1), _mm512_sub_epi64(shift, _mm512_set1_epi64(1)));
}

Block block(const RequantTable& t, int o) {
    const __m512i shift = _mm512_loadu_si512(t.shift + o);
    const __m512i even = _mm512_and_si512(shift, _mm512_set1_epi64(0xffffffff)), odd = _mm512_srli_epi64(shift, 32);
    return {_mm512_loadu_si512(t.bias + o),
            _mm512_loadu_si512(t.mul_pos + o),
            _mm512_loadu_si512(t.mul_neg + o),
            _mm512_loadu_si512(t.zero + o),
            even,
            odd,
            half(even),
            half(odd)};
}

__m512i sixteen(__m512i sum, const Block& b, __m512i limit, __m512i minus) {
    sum = _mm512_add_epi32(sum, b.bias);
    const __m512i mul = _mm512_mask_mov_epi32(b.mul_pos, _mm512_cmplt_epi32_mask(sum, _mm512_setzero_si512()),
                                              b.mul_neg);
    const __m512i even = _mm512_srav_epi64(_mm512_add_epi64(_mm512_mul_epi32(sum, mul), b.half_even), b.shift_even);
    const __m512i odd = _mm512_srav_epi64(
        _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), _mm512_srli_epi64(mul, 32)), b.half_odd),
        b.shift_odd);
    const __m512i both = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    return _mm512_max_epi32(_mm512_min_epi32(_mm512_add_epi32(both, b.zero), limit), minus);
}

void store(int8_t* out, __m512i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(v)); }
void store(int16_t* out, __m512i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(v)); }
void store(int32_t* out, __m512i v) { _mm512_storeu_si512(out, v); }

template <typename Out>
void requantise(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first, int blocks,
                Out* out, ptrdiff_t out_stride) {
    const __m512i limit = _mm512_set1_epi32(t.limit), minus = _mm512_set1_epi32(-t.limit);
    for (int i = 0; i < 16 * blocks; i += 16) {
        const Block b = block(t, first + i);
        for (int p = 0; p < positions; ++p)
            store(out + p * out_stride + i, sixteen(_mm512_loadu_si512(sums + p * sums_stride + i), b, limit, minus));
    }
}

}  // namespace

void requantise_i8_avx512vnni(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t,
                              int first, int blocks, int8_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i16_avx512vnni(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t,
                               int first, int blocks, int16_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i32_avx512vnni(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t,
                               int first, int blocks, int32_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}

}  // namespace jahp
