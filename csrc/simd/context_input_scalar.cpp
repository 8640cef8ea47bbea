// SPDX-License-Identifier: Apache-2.0
#include "simd/context_input_loop.hpp"

namespace jahp {

int32_t context_input_i8_scalar(const int32_t* y, const ContextTable& table, int8_t* out, uint64_t* nonzero) {
    return context_input_loop<int64_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_groups(p, n); });
}
int32_t context_input_i16_scalar(const int32_t* y, const ContextTable& table, int16_t* out, uint64_t* nonzero) {
    return context_input_loop<int64_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_groups(p, n); });
}

}  // namespace jahp
