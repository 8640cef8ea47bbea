// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#include <wasm_simd128.h>

#include "simd/finish.hpp"
#include "simd/shift_wasm.hpp"

namespace jahp {
namespace {

inline void store8(int16_t* out, v128_t a, v128_t b) { wasm_v128_store(out, wasm_i16x8_narrow_i32x4(a, b)); }
inline void store8(int32_t* out, v128_t a, v128_t b) {
    wasm_v128_store(out, a);
    wasm_v128_store(out + 4, b);
}
inline void store8(uint8_t* out, v128_t a, v128_t b) {
    const v128_t words = wasm_i16x8_narrow_i32x4(a, b);
    wasm_v128_store64_lane(out, wasm_u8x16_narrow_i16x8(words, words), 0);
}

// Channels outside: what belongs to them stays in registers.
template <bool kLeaky, typename Out>
void rows(const int32_t* sums, ptrdiff_t sums_stride, int positions, int channels, const FinishTable& t, Out* out,
          ptrdiff_t out_stride) {
    const v128_t low = wasm_i32x4_splat(t.low), high = wasm_i32x4_splat(t.high);
    for (int o = 0; o < channels; o += 8) {
        v128_t offset[2], power[2];
        for (int h = 0; h < 2; ++h) {
            offset[h] = wasm_v128_load(t.offset + o + 4 * h);
            power[h] = power_for_shift(wasm_v128_load(t.shift + o + 4 * h));
        }
        for (int p = 0; p < positions; ++p) {
            v128_t x[2];
            for (int h = 0; h < 2; ++h) {
                const v128_t sum = wasm_v128_load(sums + p * sums_stride + o + 4 * h);
                x[h] = shifted(wasm_i32x4_add(wasm_i32x4_shl(sum, 2), offset[h]), power[h]);
                x[h] = wasm_i32x4_min(wasm_i32x4_max(x[h], low), high);
                if (kLeaky) {
                    const v128_t less = wasm_i32x4_shr(
                        wasm_i32x4_add(wasm_i32x4_mul(x[h], wasm_i32x4_const_splat(kLeakyMul)),
                                       wasm_i32x4_const_splat(1 << (kLeakyShift - 1))),
                        kLeakyShift);
                    x[h] = wasm_v128_bitselect(less, x[h], wasm_i32x4_shr(x[h], 31));
                }
            }
            store8(out + p * out_stride + o, x[0], x[1]);
        }
    }
}

template <typename Out>
void finish(const int32_t* sums, ptrdiff_t sums_stride, int positions, int channels, const FinishTable& t, Out* out,
            ptrdiff_t out_stride) {
    t.leaky ? rows<true>(sums, sums_stride, positions, channels, t, out, out_stride)
            : rows<false>(sums, sums_stride, positions, channels, t, out, out_stride);
}

}  // namespace

void finish_i16_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, int channels, const FinishTable& t,
                     int16_t* out, ptrdiff_t out_stride) {
    finish(sums, sums_stride, positions, channels, t, out, out_stride);
}
void finish_i32_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, int channels, const FinishTable& t,
                     int32_t* out, ptrdiff_t out_stride) {
    finish(sums, sums_stride, positions, channels, t, out, out_stride);
}
void finish_u8_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, int channels, const FinishTable& t,
                    uint8_t* out, ptrdiff_t out_stride) {
    finish(sums, sums_stride, positions, channels, t, out, out_stride);
}

}  // namespace jahp
