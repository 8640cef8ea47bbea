// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share, over registers of at most JAHP_VECTOR_BYTES. For winograd_*.cpp alone:
// internal linkage, so that each file has its own copy.
#pragma once

#include "simd/unroll.hpp"
#include "simd/winograd.hpp"
#if defined(__wasm_simd128__)
#include "simd/shift_wasm.hpp"
#endif

namespace jahp {
namespace {

// Channels come in sixteens.
constexpr int kShortBytes = JAHP_VECTOR_BYTES < 32 ? JAHP_VECTOR_BYTES : 32;
typedef std::int16_t Shorts __attribute__((vector_size(kShortBytes), aligned(2), may_alias));
typedef std::uint32_t Words __attribute__((vector_size(JAHP_VECTOR_BYTES), aligned(4), may_alias));
typedef std::int32_t Ints __attribute__((vector_size(JAHP_VECTOR_BYTES), aligned(4), may_alias));
typedef std::int16_t HalfShorts __attribute__((vector_size(JAHP_VECTOR_BYTES / 2), aligned(2), may_alias));
constexpr int kShorts = kShortBytes / 2, kInts = JAHP_VECTOR_BYTES / 4;

// The seven points of 4 or 7 samples.
template <int kSamples>
inline void into(const Shorts* s, Shorts* out, int step) {
    constexpr bool kApart = kSamples == 7;
    const Shorts d0 = s[0], d1 = s[kApart ? 2 : 1], d2 = s[kApart ? 4 : 2], d3 = s[kApart ? 6 : 3], e0 = s[1],
                 e1 = s[kApart ? 3 : 2], e2 = s[kApart ? 5 : 3];
    out[0] = d0 - d2;
    out[step] = d1 + d2;
    out[2 * step] = d2 - d1;
    out[3 * step] = d1 - d3;
    out[4 * step] = e0 - e1;
    out[5 * step] = e1;
    out[6 * step] = e1 - e2;
}

// Two outputs, times 2 where there are four points.
template <int kPoints>
inline void out_of(const Words* m, int step, Words* y, int y_step) {
    const Words m0 = m[0], m1 = m[step], m2 = m[2 * step];
    if constexpr (kPoints == 4) {
        y[0] = m0 + m1 + m2;
        y[y_step] = m1 - m2 - m[3 * step];
    } else {
        y[0] = m0 + m1;
        y[y_step] = m1 - m2;
    }
}

template <int kSamples>
void input(const WinogradInput& w) {
    constexpr int kN = kWinogradPoints;
    for (int c = 0; c < w.channels; c += kShorts) {
        Shorts half[kN * kSamples];
        JAHP_UNROLL for (int j = 0; j < kSamples; ++j) {
            Shorts column[kSamples];
            JAHP_UNROLL for (int i = 0; i < kSamples; ++i)
                column[i] = *reinterpret_cast<const Shorts*>(w.rows[i] + j * w.column_step + c);
            into<kSamples>(column, half + j, kSamples);
        }
        JAHP_UNROLL for (int i = 0; i < kN; ++i) {
            Shorts points[kN];
            into<kSamples>(half + i * kSamples, points, 1);
            JAHP_UNROLL for (int j = 0; j < kN; ++j)
                *reinterpret_cast<Shorts*>(w.out + (i * kN + j) * w.point_stride + c) = points[j];
        }
    }
}

inline void store(std::int32_t* to, Ints x) { *reinterpret_cast<Ints*>(to) = x; }
inline void store(std::int16_t* to, Ints x) {
    *reinterpret_cast<HalfShorts*>(to) = __builtin_convertvector(x, HalfShorts);
}

#if defined(__wasm_simd128__)
inline Ints shift_of(const std::int32_t* shift) {
    return reinterpret_cast<Ints>(power_for_shift(wasm_v128_load(shift)));
}
inline Ints shifted_right(Words x, Ints shift) {
    return reinterpret_cast<Ints>(shifted(reinterpret_cast<v128_t>(x), reinterpret_cast<v128_t>(shift)));
}
#else
inline Ints shift_of(const std::int32_t* shift) { return *reinterpret_cast<const Ints*>(shift); }
inline Ints shifted_right(Words x, Ints shift) { return reinterpret_cast<Ints>(x) >> shift; }
#endif

template <int kV, int kH, typename Out>
void output(const WinogradOutput<Out>& w) {
    constexpr int kLess = (kV == 3) + (kH == 3);  // doublings that are missing of 4 times the sum
    const FinishTable& t = *w.table;
    for (int c = 0; c < w.channels; c += kInts) {
        Words half[2 * kH], y[4];
        JAHP_UNROLL for (int j = 0; j < kH; ++j) {
            Words m[kV];
            JAHP_UNROLL for (int i = 0; i < kV; ++i)
                m[i] = *reinterpret_cast<const Words*>(w.in + (i * kH + j) * w.point_stride + c);
            out_of<kV>(m, 1, half + j, kH);
        }
        JAHP_UNROLL for (int i = 0; i < 2; ++i)
            out_of<kH>(half + i * kH, 1, y + 2 * i, 1);
        const Words offset = *reinterpret_cast<const Words*>(t.offset + c);
        const Ints shift = shift_of(t.shift + c);
        JAHP_UNROLL for (int i = 0; i < 2; ++i) JAHP_UNROLL
            for (int j = 0; j < 2; ++j) {
                if (i >= w.rows_valid || j >= w.columns_valid) continue;
                Ints x = shifted_right((y[2 * i + j] << kLess) + offset, shift);
                x = x < t.low ? x - x + t.low : x;
                x = x > t.high ? x - x + t.high : x;
                if (t.leaky) x = x < 0 ? (x * kLeakyMul + (1 << (kLeakyShift - 1))) >> kLeakyShift : x;
                store(w.rows[i] + j * w.column_step + c, x);
            }
    }
}

inline void input_loop(const WinogradInput& w) { w.samples == 4 ? input<4>(w) : input<7>(w); }

template <typename Out>
inline void output_loop(const WinogradOutput<Out>& w) {
    if (w.points_v == 4)
        w.points_h == 4 ? output<4, 4>(w) : output<4, 3>(w);
    else
        w.points_h == 4 ? output<3, 4>(w) : output<3, 3>(w);
}

}  // namespace
}  // namespace jahp
