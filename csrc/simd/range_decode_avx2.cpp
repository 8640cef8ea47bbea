// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mpopcnt: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/range_decode_loop.hpp"

namespace jahp {

int range_decode_avx2(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode(tables, state, run, from, beyond, [](const uint16_t* line, uint32_t slot) {
        const __m256i s = _mm256_set1_epi16(static_cast<short>(slot));
        const auto reaches = [&](const uint16_t* p) {  // end >= slot
            const __m256i e = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
            return _mm256_cmpeq_epi16(_mm256_max_epu16(e, s), e);
        };
        const __m256i both = _mm256_packs_epi16(reaches(line), reaches(line + 16));
        return 32u - static_cast<uint32_t>(_mm_popcnt_u32(static_cast<uint32_t>(_mm256_movemask_epi8(both))));
    });
}

}  // namespace jahp
