// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f and what else the set has.
#include <immintrin.h>

#include "simd/context_input_loop.hpp"

namespace jahp {
namespace {

uint32_t nonzero_sixteen(const uint8_t* p, int n) {
    const __mmask16 present = static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << n) - 1);
    const __m512i groups = _mm512_maskz_loadu_epi32(present, p);
    return _mm512_test_epi32_mask(groups, groups);
}

}  // namespace

int32_t context_input_i8_avx512vnni(const int32_t* y, const ContextTable& table, int8_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_sixteen(p, n); });
}
int32_t context_input_i16_avx512vnni(const int32_t* y, const ContextTable& table, int16_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_sixteen(p, n); });
}

}  // namespace jahp
