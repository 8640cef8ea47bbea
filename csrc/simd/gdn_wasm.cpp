// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128. As gdn_loop.hpp, four channels at a time, with shifts as products.
#include <wasm_simd128.h>

#include "simd/gdn.hpp"
#include "simd/shift_wasm.hpp"

namespace jahp {
namespace {

inline v128_t nearly() { return wasm_f32x4_const_splat(0.5f - 1.0f / 64); }

// One more where `more` holds.
inline v128_t one_more(v128_t x, v128_t more) { return wasm_i32x4_sub(x, more); }

inline v128_t root_of(v128_t n) {
    const v128_t r = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_add(wasm_f32x4_sqrt(wasm_f32x4_convert_i32x4(n)), nearly()));
    return one_more(r, wasm_i32x4_gt(wasm_i32x4_sub(n, wasm_i32x4_mul(r, r)), r));
}

inline v128_t reciprocal_of(v128_t r) {
    const v128_t m = wasm_i32x4_trunc_sat_f32x4(
        wasm_f32x4_add(wasm_f32x4_div(wasm_f32x4_const_splat(1073741824.0f), wasm_f32x4_convert_i32x4(r)), nearly()));
    const v128_t rest = wasm_i32x4_sub(wasm_i32x4_const_splat(1 << 30), wasm_i32x4_mul(m, r));
    return one_more(m, wasm_i32x4_gt(wasm_i32x4_shl(rest, 1), r));
}

inline v128_t scaled_down(v128_t product, v128_t power) {
    const v128_t y = rounded_shifted(product, power);
    return wasm_i32x4_min(wasm_i32x4_max(y, wasm_i32x4_const_splat(-kActivationLimit)),
                          wasm_i32x4_const_splat(kActivationLimit));
}

inline void store8(void* to, v128_t a, v128_t b) { wasm_v128_store(to, wasm_i16x8_narrow_i32x4(a, b)); }

template <bool kKeep>
void multiply(int16_t* x, ptrdiff_t positions, ptrdiff_t channels, const int32_t* norm, const int32_t* shift,
              uint16_t* roots) {
    for (ptrdiff_t i = 0; i < channels; i += 8) {
        const v128_t power[2] = {power_for_any_shift(wasm_v128_load(shift + i)),
                                 power_for_any_shift(wasm_v128_load(shift + i + 4))};
        for (ptrdiff_t at = i; at < positions * channels; at += channels) {
            v128_t r[2], y[2];
            for (int h = 0; h < 2; ++h) {
                r[h] = root_of(wasm_v128_load(norm + at + 4 * h));
                y[h] = scaled_down(wasm_i32x4_mul(wasm_i32x4_load16x4(x + at + 4 * h), r[h]), power[h]);
            }
            if (kKeep) wasm_v128_store(roots + at, wasm_u16x8_narrow_i32x4(r[0], r[1]));
            store8(x + at, y[0], y[1]);
        }
    }
}

}  // namespace

void gdn_squares_wasm(const int16_t* x, ptrdiff_t count, int16_t* squares) {
    const v128_t half = wasm_i32x4_const_splat(1 << 11), bias = wasm_i32x4_const_splat(kSquareBias);
    for (ptrdiff_t i = 0; i < count; i += 8) {
        const v128_t v = wasm_v128_load(x + i);
        const v128_t low = wasm_i32x4_shr(wasm_i32x4_add(wasm_i32x4_extmul_low_i16x8(v, v), half), 12),
                     high = wasm_i32x4_shr(wasm_i32x4_add(wasm_i32x4_extmul_high_i16x8(v, v), half), 12);
        store8(squares + i, wasm_i32x4_sub(low, bias), wasm_i32x4_sub(high, bias));
    }
}

void gdn_divide_wasm(int16_t* x, ptrdiff_t positions, ptrdiff_t channels, const int32_t* norm, const int32_t* shift) {
    for (ptrdiff_t i = 0; i < channels; i += 8)
        for (ptrdiff_t at = i; at < positions * channels; at += channels) {
            v128_t y[2];
            for (int h = 0; h < 2; ++h) {
                const v128_t n = wasm_v128_load(norm + at + 4 * h), by = wasm_v128_load(shift + i + 4 * h);
                const v128_t bits = wasm_f32x4_convert_i32x4(wasm_v128_andnot(n, wasm_i32x4_shr(n, 1)));
                const v128_t e = wasm_i32x4_shr(
                    wasm_i32x4_sub(wasm_i32x4_const_splat(30 + 127), wasm_i32x4_shr(bits, 23)), 1);
                const v128_t m = reciprocal_of(root_of(wasm_i32x4_mul(n, power_of_two(wasm_i32x4_shl(e, 1)))));
                y[h] = scaled_down(wasm_i32x4_mul(wasm_i32x4_load16x4(x + at + 4 * h), m),
                                   power_for_any_shift(wasm_i32x4_sub(by, e)));
            }
            store8(x + at, y[0], y[1]);
        }
}

void gdn_multiply_wasm(int16_t* x, ptrdiff_t positions, ptrdiff_t channels, const int32_t* norm, const int32_t* shift) {
    multiply<false>(x, positions, channels, norm, shift, nullptr);
}

void gdn_multiply_keep_wasm(int16_t* x, ptrdiff_t positions, ptrdiff_t channels, const int32_t* norm,
                            const int32_t* shift, uint16_t* roots) {
    multiply<true>(x, positions, channels, norm, shift, roots);
}

void gdn_local_wasm(int16_t* x, ptrdiff_t positions, ptrdiff_t channels, const LocalGain& gain, const uint16_t* roots,
                    uint32_t* squares) {
    for (ptrdiff_t p = 0; p < positions; ++p) squares[p] = 0;
    for (ptrdiff_t i = 0; i < channels; i += 8) {
        v128_t steady[2], varying[2], down[2], power[2];
        for (int h = 0; h < 2; ++h) {
            steady[h] = wasm_v128_load(gain.steady + i + 4 * h);
            varying[h] = wasm_v128_load(gain.varying + i + 4 * h);
            down[h] = power_for_any_shift(wasm_v128_load(gain.varying_shift + i + 4 * h));
            power[h] = power_for_any_shift(wasm_v128_load(gain.shift + i + 4 * h));
        }
        for (ptrdiff_t p = 0; p < positions; ++p) {
            v128_t y[2], sum = wasm_i32x4_const_splat(0);
            for (int h = 0; h < 2; ++h) {
                const ptrdiff_t at = p * channels + i + 4 * h;
                const v128_t root = wasm_u32x4_load16x4(roots + at);
                v128_t factor = wasm_i32x4_add(steady[h], shifted_any(wasm_i32x4_mul(varying[h], root), down[h]));
                factor = wasm_i32x4_min(factor, wasm_i32x4_const_splat(32767));
                const v128_t part = wasm_i32x4_shr(factor, 5);
                sum = wasm_i32x4_add(sum, wasm_i32x4_mul(part, part));
                y[h] = scaled_down(wasm_i32x4_mul(wasm_i32x4_load16x4(x + at), factor), power[h]);
            }
            store8(x + p * channels + i, y[0], y[1]);
            squares[p] += static_cast<uint32_t>(wasm_i32x4_extract_lane(sum, 0)) +
                          static_cast<uint32_t>(wasm_i32x4_extract_lane(sum, 1)) +
                          static_cast<uint32_t>(wasm_i32x4_extract_lane(sum, 2)) +
                          static_cast<uint32_t>(wasm_i32x4_extract_lane(sum, 3));
        }
    }
}

}  // namespace jahp
