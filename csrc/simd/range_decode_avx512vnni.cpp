// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512bw and what it needs: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/range_decode_loop.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

struct Avx512 {
    static uint32_t below(const uint16_t* line, uint32_t slot) {
        const __mmask32 less = _mm512_cmplt_epu16_mask(_mm512_load_si512(line),
                                                       _mm512_set1_epi16(static_cast<short>(slot)));
        return static_cast<uint32_t>(_mm_popcnt_u32(less));
    }

    // As decode_group, with the states in one register; the words are dealt to the lanes that need one, in their order.
    template <int kProbBits>
    static bool group(const LinedRow* rows, const Symbol* symbols, uint32_t* lanes, const uint8_t*& next,
                      int32_t* out) {
        constexpr int kLast = (1 << kProbBits) - 1;
        const __m512i ones = _mm512_set1_epi32(0xFFFF), x = _mm512_loadu_si512(lanes),
                      slot = _mm512_and_si512(x, _mm512_set1_epi32(kLast));
        alignas(64) uint32_t slots[kGroup], around[kGroup];
        _mm512_store_si512(slots, slot);
        JAHP_UNROLL for (int j = 0; j < kGroup; ++j) {
            const LinedRow& row = rows[symbols[j].row];
            const uint32_t k = entry_of<Avx512, kProbBits>(row, slots[j]);
            around[j] = ends_around(row, k);
            out[j] = row.low + static_cast<int32_t>(k);
        }
        const __m512i both = _mm512_load_si512(around), end = _mm512_srli_epi32(both, 16),
                      before = _mm512_and_si512(both, ones);
        if (_mm512_cmpeq_epi32_mask(end, _mm512_set1_epi32(kLast)) != 0) return false;  // only an escape ends there
        const __m512i freq = _mm512_and_si512(_mm512_sub_epi32(end, before), ones);
        const __m512i start = _mm512_and_si512(_mm512_add_epi32(before, _mm512_set1_epi32(1)), ones);
        const __m512i moved = _mm512_sub_epi32(
            _mm512_add_epi32(_mm512_mullo_epi32(freq, _mm512_srli_epi32(x, kProbBits)), slot), start);
        const __mmask16 need = _mm512_cmplt_epu32_mask(moved, _mm512_set1_epi32(65536));
        const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(next)));
        const __m512i refilled = _mm512_or_si512(_mm512_slli_epi32(moved, 16), _mm512_maskz_expand_epi32(need, words));
        _mm512_storeu_si512(lanes, _mm512_mask_mov_epi32(moved, need, refilled));
        next += 2 * _mm_popcnt_u32(need);
        return true;
    }
};

}  // namespace

int range_decode_avx512vnni(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode<Avx512>(tables, state, run, from, beyond);
}

}  // namespace jahp
