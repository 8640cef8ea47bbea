// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f and what else the set has: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/symbol_rows.hpp"

namespace jahp {
namespace {

struct Table64 {
    __m512i part[4];
    explicit Table64(const void* table) {
        const char* p = static_cast<const char*>(table);
        for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(p + 64 * i);
    }
    // Elements of the upper 32 where `upper` says so.
    __m512i operator()(__m512i index, __mmask16 upper) const {
        return _mm512_mask_blend_epi32(upper, _mm512_permutex2var_epi32(part[0], index, part[1]),
                                       _mm512_permutex2var_epi32(part[2], index, part[3]));
    }
};

__mmask16 first(int n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << n) - 1); }

}  // namespace

// A binary search of sixteen scales at a time in tables that stay in registers.
void symbol_rows_avx512vnni(const int32_t* scales, const int32_t* means, const ScaleTable& t, int n, Symbol* out) {
    const Table64 thresholds(t.thresholds), row_drop(t.row_drop);
    const __m512i middle = _mm512_set1_epi32(t.thresholds[31]), last = _mm512_set1_epi32(t.scales - 1);
    for (int i = 0; i < n; i += 16) {
        const __mmask16 mask = first(n - i);
        const __m512i scale = _mm512_maskz_loadu_epi32(mask, scales + i);
        const __m512i mean = means == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi32(mask, means + i);
        const __mmask16 upper = _mm512_cmple_epi32_mask(middle, scale);
        __m512i index = _mm512_maskz_set1_epi32(upper, 32);
        for (int step = 16; step > 0; step >>= 1) {
            const __m512i at = thresholds(_mm512_add_epi32(index, _mm512_set1_epi32(step - 1)), upper);
            index = _mm512_mask_add_epi32(index, _mm512_cmple_epi32_mask(at, scale), index, _mm512_set1_epi32(step));
        }
        // 32 + 31 is the most that the steps reach; INT32_MAX would also count what fills the table up.
        index = _mm512_min_epi32(index, last);
        const __m512i both = row_drop(index, _mm512_cmpgt_epi32_mask(index, _mm512_set1_epi32(31)));
        const __m512i fraction = _mm512_srav_epi32(_mm512_and_si512(mean, _mm512_set1_epi32(t.mean_mask)),
                                                   _mm512_srli_epi32(both, 28));
        __m512i row = _mm512_add_epi32(_mm512_and_si512(both, _mm512_set1_epi32(0x0FFFFFFF)), fraction);
        row = _mm512_mask_set1_epi32(row, _mm512_cmplt_epi32_mask(index, _mm512_set1_epi32(t.skip)), -1);
        const __m512i low = _mm512_unpacklo_epi32(row, mean), high = _mm512_unpackhi_epi32(row, mean);
        const __m512i from_low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                      from_high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        const int pairs = n - i < 16 ? n - i : 16;
        _mm512_mask_storeu_epi64(out + i, static_cast<__mmask8>(pairs >= 8 ? 0xff : (1 << pairs) - 1),
                                 _mm512_permutex2var_epi64(low, from_low, high));
        if (pairs > 8)
            _mm512_mask_storeu_epi64(out + i + 8, static_cast<__mmask8>((1 << (pairs - 8)) - 1),
                                     _mm512_permutex2var_epi64(low, from_high, high));
    }
}

}  // namespace jahp
