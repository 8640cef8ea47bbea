// SPDX-License-Identifier: Apache-2.0
// Shifts to the right by another number in each lane. SIMD128 has none: they are products with powers of two, exact in
// 64 bits. For *_wasm.cpp alone.
#pragma once

#include <stdint.h>
#include <wasm_simd128.h>

namespace jahp {
namespace {

// 2^e, 0 <= e <= 31, as unsigned: by way of floats, which hold it exactly.
inline v128_t power_of_two(v128_t e) {
    return wasm_u32x4_trunc_sat_f32x4(wasm_i32x4_shl(wasm_i32x4_add(e, wasm_i32x4_const_splat(127)), 23));
}

inline v128_t high_words(v128_t low, v128_t high) { return wasm_i32x4_shuffle(low, high, 1, 3, 5, 7); }
inline v128_t low_words(v128_t low, v128_t high) { return wasm_i32x4_shuffle(low, high, 0, 2, 4, 6); }

// What x >> s is a product with, and the shift itself, 2 <= s <= 31.
inline v128_t power_for_shift(v128_t s) { return power_of_two(wasm_i32x4_sub(wasm_i32x4_const_splat(32), s)); }
inline v128_t shifted(v128_t x, v128_t power) {
    return high_words(wasm_i64x2_extmul_low_i32x4(x, power), wasm_i64x2_extmul_high_i32x4(x, power));
}

// Any shift from 0 to 31: the sign is made part of an unsigned number, and comes off again.
inline v128_t power_for_any_shift(v128_t s) { return power_of_two(wasm_i32x4_sub(wasm_i32x4_const_splat(31), s)); }
inline v128_t shifted_any(v128_t x, v128_t power) {
    const v128_t u = wasm_v128_xor(x, wasm_i32x4_const_splat(INT32_MIN));
    return wasm_i32x4_sub(low_words(wasm_u64x2_shr(wasm_u64x2_extmul_low_u32x4(u, power), 31),
                                    wasm_u64x2_shr(wasm_u64x2_extmul_high_u32x4(u, power), 31)),
                          power);
}

// x / 2^s, halves up, 1 <= s <= 31, |x| < 2^31; power as power_for_any_shift gives it.
inline v128_t rounded_shifted(v128_t x, v128_t power) {
    const v128_t half = wasm_i64x2_const_splat(1 << 30);
    return low_words(wasm_u64x2_shr(wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(x, power), half), 31),
                     wasm_u64x2_shr(wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(x, power), half), 31));
}

}  // namespace
}  // namespace jahp
