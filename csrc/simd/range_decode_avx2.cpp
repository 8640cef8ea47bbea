// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mpopcnt: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/range_decode_loop.hpp"

namespace jahp {
namespace {

__m256i reaches(const uint16_t* ends, __m256i slot) {  // end >= slot
    const __m256i e = _mm256_load_si256(reinterpret_cast<const __m256i*>(ends));
    return _mm256_cmpeq_epi16(_mm256_max_epu16(e, slot), e);
}

struct Avx2 {
    static uint32_t below(const uint16_t* line, uint32_t slot) {
        const __m256i s = _mm256_set1_epi16(static_cast<short>(slot)),
                      both = _mm256_packs_epi16(reaches(line, s), reaches(line + 16, s));
        return 32u - static_cast<uint32_t>(_mm_popcnt_u32(static_cast<uint32_t>(_mm256_movemask_epi8(both))));
    }
    template <int kProbBits>
    static bool group(const LinedRow* rows, const Symbol* symbols, uint32_t* lanes, const uint8_t*& next,
                      int32_t* out) {
        return decode_group<Avx2, kProbBits>(rows, symbols, lanes, next, out);
    }
};

}  // namespace

int range_decode_avx2(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode<Avx2>(tables, state, run, from, beyond);
}

}  // namespace jahp
