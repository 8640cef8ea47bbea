// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512bw and what it needs: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/range_decode_loop.hpp"

namespace jahp {

int range_decode_avx512vnni(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode(tables, state, run, from, beyond, [](const uint16_t* line, uint32_t slot) {
        const __mmask32 less = _mm512_cmplt_epu16_mask(_mm512_load_si512(line), _mm512_set1_epi16(static_cast<short>(slot)));
        return static_cast<uint32_t>(_mm_popcnt_u32(static_cast<uint32_t>(less)));
    });
}

}  // namespace jahp
