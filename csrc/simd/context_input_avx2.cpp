// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2.
#include <immintrin.h>

#include "simd/context_input_loop.hpp"

namespace jahp {
namespace {

// Reads whole blocks of four groups: activations have room up to a multiple of 16.
uint32_t nonzero_by_four(const uint8_t* p, int n) {
    uint32_t set = 0;
    for (int g = 0; g < n; g += 4) {
        const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 4 * g));
        const int zero = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(four, _mm_setzero_si128())));
        set |= static_cast<uint32_t>(~zero & 15) << g;
    }
    return set;
}

}  // namespace

int32_t context_input_i8_avx2(const int32_t* y, const ContextTable& table, int8_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_by_four(p, n); });
}
int32_t context_input_i16_avx2(const int32_t* y, const ContextTable& table, int16_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_by_four(p, n); });
}

}  // namespace jahp
