// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#include <wasm_simd128.h>

#include "simd/context_input_loop.hpp"

namespace jahp {
namespace {

// Reads whole blocks of four groups: activations have room up to a multiple of 16.
uint32_t nonzero_by_four(const uint8_t* p, int n) {
    uint32_t set = 0;
    for (int g = 0; g < n; g += 4) {
        const v128_t four = wasm_v128_load(p + 4 * g);
        set |= static_cast<uint32_t>(wasm_i32x4_bitmask(wasm_i32x4_ne(four, wasm_i32x4_const_splat(0)))) << g;
    }
    return set;
}

}  // namespace

int32_t context_input_i8_wasm(const int32_t* y, const ContextTable& table, int8_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_by_four(p, n); });
}
int32_t context_input_i16_wasm(const int32_t* y, const ContextTable& table, int16_t* out, uint64_t* nonzero) {
    return context_input_loop<int32_t>(y, table, out, nonzero,
                                       [](const uint8_t* p, int n) { return nonzero_by_four(p, n); });
}

}  // namespace jahp
