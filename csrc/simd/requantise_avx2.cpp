// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

struct Block {  // the constants of 8 outputs; 64-bit ones apart for even and odd outputs
    __m256i bias, mul_pos, mul_neg, zero, shift_even, shift_odd, half_even, half_odd, sign_even, sign_odd;
};

__m256i load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

__m256i one_at(__m256i shift, long long less) {
    return _mm256_sllv_epi64(_mm256_set1_epi64x(1), _mm256_sub_epi64(shift, _mm256_set1_epi64x(less)));
}

// AVX2 has no arithmetic shift of 64 bits: with 2^63 added the value is unsigned, and 2^63 >> shift comes off again.
const long long kSign = static_cast<long long>(1ull << 63);

Block block(const RequantTable& t, int o) {
    const __m256i shift = load(t.shift + o), even = _mm256_and_si256(shift, _mm256_set1_epi64x(0xffffffff)),
                  odd = _mm256_srli_epi64(shift, 32);
    const __m256i sign = _mm256_set1_epi64x(kSign);
    return {load(t.bias + o),
            load(t.mul_pos + o),
            load(t.mul_neg + o),
            load(t.zero + o),
            even,
            odd,
            _mm256_xor_si256(one_at(even, 1), sign),
            _mm256_xor_si256(one_at(odd, 1), sign),
            _mm256_srlv_epi64(sign, even),
            _mm256_srlv_epi64(sign, odd)};
}

__m256i eight(__m256i sum, const Block& b, __m256i limit, __m256i minus) {
    sum = _mm256_add_epi32(sum, b.bias);
    const __m256i mul = _mm256_blendv_epi8(b.mul_pos, b.mul_neg, _mm256_srai_epi32(sum, 31));
    const __m256i even = _mm256_sub_epi64(
        _mm256_srlv_epi64(_mm256_add_epi64(_mm256_mul_epi32(sum, mul), b.half_even), b.shift_even), b.sign_even);
    const __m256i product = _mm256_mul_epi32(_mm256_srli_epi64(sum, 32), _mm256_srli_epi64(mul, 32));
    const __m256i odd = _mm256_sub_epi64(_mm256_srlv_epi64(_mm256_add_epi64(product, b.half_odd), b.shift_odd),
                                         b.sign_odd);
    const __m256i both = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    return _mm256_max_epi32(_mm256_min_epi32(_mm256_add_epi32(both, b.zero), limit), minus);
}

__m128i words(__m256i v) { return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)); }
void store(int8_t* out, __m256i v) {
    const __m128i w = words(v);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packs_epi16(w, w));
}
void store(int16_t* out, __m256i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out), words(v)); }
void store(int32_t* out, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), v); }

template <typename Out>
void requantise(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first, int blocks,
                Out* out, ptrdiff_t out_stride) {
    const __m256i limit = _mm256_set1_epi32(t.limit), minus = _mm256_set1_epi32(-t.limit);
    for (int i = 0; i < 16 * blocks; i += 8) {
        const Block b = block(t, first + i);
        for (int p = 0; p < positions; ++p)
            store(out + p * out_stride + i, eight(load(sums + p * sums_stride + i), b, limit, minus));
    }
}

}  // namespace

void requantise_i8_avx2(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                        int blocks, int8_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i16_avx2(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int16_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i32_avx2(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int32_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}

}  // namespace jahp
