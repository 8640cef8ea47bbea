// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128: includes intrinsics, C headers and plain structs only.
#include <wasm_simd128.h>

#include "simd/range_decode_loop.hpp"

namespace jahp {
namespace {

struct Wasm {
    static uint32_t below(const uint16_t* line, uint32_t slot) {
        const v128_t s = wasm_i16x8_splat(static_cast<int16_t>(slot));
        const auto less = [&](int i) { return wasm_u16x8_lt(wasm_v128_load(line + i), s); };
        const uint32_t low = wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(less(0), less(8))),
                       high = wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(less(16), less(24)));
        return static_cast<uint32_t>(__builtin_popcount(low | high << 16));
    }
    template <int kProbBits>
    static bool group(const LinedRow* rows, const Symbol* symbols, uint32_t* lanes, const uint8_t*& next,
                      int32_t* out) {
        return decode_group<Wasm, kProbBits>(rows, symbols, lanes, next, out);
    }
};

}  // namespace

int range_decode_wasm(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode<Wasm>(tables, state, run, from, beyond);
}

}  // namespace jahp
