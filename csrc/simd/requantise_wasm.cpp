// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#include <wasm_simd128.h>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

// There is no shift of 64 bits by another number in each lane: lanes leave the register for it.
struct Block {  // the constants of 4 outputs
    v128_t bias, mul_pos, mul_neg, zero, half_low, half_high;
    int32_t shift[4];
};

inline v128_t half_of(const int32_t* shift) {
    return wasm_i64x2_make(int64_t{1} << (shift[0] - 1), int64_t{1} << (shift[1] - 1));
}

Block block(const RequantTable& t, int o) {
    const int32_t* shift = t.shift + o;
    return {wasm_v128_load(t.bias + o),
            wasm_v128_load(t.mul_pos + o),
            wasm_v128_load(t.mul_neg + o),
            wasm_v128_load(t.zero + o),
            half_of(shift),
            half_of(shift + 2),
            {shift[0], shift[1], shift[2], shift[3]}};
}

inline v128_t four(v128_t sum, const Block& b, v128_t limit, v128_t minus) {
    sum = wasm_i32x4_add(sum, b.bias);
    const v128_t mul = wasm_v128_bitselect(b.mul_neg, b.mul_pos, wasm_i32x4_shr(sum, 31));
    const v128_t low = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(sum, mul), b.half_low),
                 high = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(sum, mul), b.half_high);
    const v128_t both = wasm_i32x4_make(static_cast<int32_t>(wasm_i64x2_extract_lane(low, 0) >> b.shift[0]),
                                        static_cast<int32_t>(wasm_i64x2_extract_lane(low, 1) >> b.shift[1]),
                                        static_cast<int32_t>(wasm_i64x2_extract_lane(high, 0) >> b.shift[2]),
                                        static_cast<int32_t>(wasm_i64x2_extract_lane(high, 1) >> b.shift[3]));
    return wasm_i32x4_max(wasm_i32x4_min(wasm_i32x4_add(both, b.zero), limit), minus);
}

inline void store8(int8_t* out, v128_t a, v128_t b) {
    const v128_t words = wasm_i16x8_narrow_i32x4(a, b);
    wasm_v128_store64_lane(out, wasm_i8x16_narrow_i16x8(words, words), 0);
}
inline void store8(int16_t* out, v128_t a, v128_t b) { wasm_v128_store(out, wasm_i16x8_narrow_i32x4(a, b)); }
inline void store8(int32_t* out, v128_t a, v128_t b) {
    wasm_v128_store(out, a);
    wasm_v128_store(out + 4, b);
}

template <typename Out>
void requantise(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first, int blocks,
                Out* out, ptrdiff_t out_stride) {
    const v128_t limit = wasm_i32x4_splat(t.limit), minus = wasm_i32x4_splat(-t.limit);
    for (int i = 0; i < 16 * blocks; i += 8) {
        const Block low = block(t, first + i), high = block(t, first + i + 4);
        for (int p = 0; p < positions; ++p) {
            const int32_t* sum = sums + p * sums_stride + i;
            store8(out + p * out_stride + i, four(wasm_v128_load(sum), low, limit, minus),
                   four(wasm_v128_load(sum + 4), high, limit, minus));
        }
    }
}

}  // namespace

void requantise_i8_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                        int blocks, int8_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i16_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int16_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i32_wasm(const int32_t* sums, ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                         int blocks, int32_t* out, ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}

}  // namespace jahp
