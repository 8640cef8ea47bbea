// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: intrinsics, C headers and the plain structs of requantise.hpp.
#include <immintrin.h>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

// Eight products of the even 32-bit elements of a and b, rounded and shifted, in 64 bits.
__m512i round_even(__m512i sum, __m512i mul, __m512i shift) {
    const __m512i s = _mm512_and_si512(shift, _mm512_set1_epi64(0xffffffff));
    const __m512i half = _mm512_sllv_epi64(_mm512_set1_epi64(1), _mm512_sub_epi64(s, _mm512_set1_epi64(1)));
    return _mm512_srav_epi64(_mm512_add_epi64(_mm512_mul_epi32(sum, mul), half), s);
}

// Sixteen outputs from o on, clamped, as 32-bit integers.
__m512i sixteen(const int32_t* sums, const RequantTable& t, int o) {
    const __m512i sum = _mm512_add_epi32(_mm512_loadu_si512(sums + o), _mm512_loadu_si512(t.bias + o));
    const __mmask16 negative = _mm512_cmplt_epi32_mask(sum, _mm512_setzero_si512());
    const __m512i mul = _mm512_mask_loadu_epi32(_mm512_loadu_si512(t.mul_pos + o), negative, t.mul_neg + o);
    const __m512i shift = _mm512_loadu_si512(t.shift + o), zero = _mm512_loadu_si512(t.zero + o);
    // In 64 bits the rounded value can be large: clamp there, with the zero point's room, before going back to 32.
    const __m512i top = _mm512_set1_epi64(1 << 30), bottom = _mm512_set1_epi64(-(1 << 30));
    __m512i even = round_even(sum, mul, shift);
    __m512i odd = round_even(_mm512_srli_epi64(sum, 32), _mm512_srli_epi64(mul, 32), _mm512_srli_epi64(shift, 32));
    even = _mm512_max_epi64(_mm512_min_epi64(even, top), bottom);
    odd = _mm512_max_epi64(_mm512_min_epi64(odd, top), bottom);
    const __m512i both = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    const __m512i limit = _mm512_set1_epi32(t.limit), minus = _mm512_set1_epi32(-t.limit);
    return _mm512_max_epi32(_mm512_min_epi32(_mm512_add_epi32(both, zero), limit), minus);
}

__mmask16 first(int n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << n) - 1); }

}  // namespace

void requantise_i16_avx512vnni(const int32_t* sums, const RequantTable& t, int n, int16_t* out) {
    for (int o = 0; o < n; o += 16) _mm256_mask_storeu_epi16(out + o, first(n - o), _mm512_cvtepi32_epi16(sixteen(sums, t, o)));
}

void requantise_i32_avx512vnni(const int32_t* sums, const RequantTable& t, int n, int32_t* out) {
    for (int o = 0; o < n; o += 16) _mm512_mask_storeu_epi32(out + o, first(n - o), sixteen(sums, t, o));
}

}  // namespace jahp
