// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f and what else the set has.
#include "simd/context_input_loop.hpp"

namespace jahp {

int32_t context_input_i8_avx512vnni(const int32_t* y, const ContextTable& table, int8_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero);
}
int32_t context_input_i16_avx512vnni(const int32_t* y, const ContextTable& table, int16_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero);
}

}  // namespace jahp
