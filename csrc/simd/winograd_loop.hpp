// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share, over registers of JAHP_VECTOR_BYTES. For winograd_*.cpp alone: internal
// linkage, so that each file has its own copy.
#pragma once

#include "simd/unroll.hpp"
#include "simd/winograd.hpp"

namespace jahp {
namespace {

typedef float Floats __attribute__((vector_size(JAHP_VECTOR_BYTES), aligned(4), may_alias));
constexpr int kFloats = JAHP_VECTOR_BYTES / 4;

// B^T d in place: 6 or 5 values, `step` apart.
template <int kPoints, int kStep>
inline void into(Floats* d) {
    const Floats d0 = d[0], d1 = d[kStep], d2 = d[2 * kStep], d3 = d[3 * kStep], d4 = d[4 * kStep];
    if constexpr (kPoints == 6) {
        const Floats d5 = d[5 * kStep], even = d4 - 4 * d2, odd = d3 - 4 * d1, near = d4 - d2, far = 2 * (d3 - d1);
        d[0] = 4 * d0 - 5 * d2 + d4;
        d[kStep] = even + odd;
        d[2 * kStep] = even - odd;
        d[3 * kStep] = near + far;
        d[4 * kStep] = near - far;
        d[5 * kStep] = 4 * d1 - 5 * d3 + d5;
    } else {
        const Floats near = d3 - d1, far = d3 - d2;
        d[0] = 2 * (d0 - d2) + near;
        d[kStep] = far - 2 * d1;
        d[2 * kStep] = far + 2 * (d1 - d2);
        d[3 * kStep] = near;
        d[4 * kStep] = d4 - d2 - 2 * near;
    }
}

// y = A^T m: 6 or 5 values, `step` apart, to 4.
template <int kPoints, int kStep>
inline void out_of(const Floats* m, Floats* y, int y_step) {
    const Floats m1 = m[kStep], m2 = m[2 * kStep], m3 = m[3 * kStep], sum = m1 + m2, difference = m1 - m2;
    if constexpr (kPoints == 6) {
        const Floats m4 = m[4 * kStep], far = m3 + m4, odd = m3 - m4;
        y[0] = m[0] + sum + far;
        y[y_step] = difference + 2 * odd;
        y[2 * y_step] = sum + 4 * far;
        y[3 * y_step] = difference + 8 * odd + m[5 * kStep];
    } else {
        y[0] = m[0] + sum + m3;
        y[y_step] = difference + 2 * m3;
        y[2 * y_step] = sum + 4 * m3;
        y[3 * y_step] = difference + 8 * m3 + m[4 * kStep];
    }
}

template <int kV, int kH>
void input(const WinogradInput& w) {
    for (int c = 0; c < w.channels; c += kFloats) {
        Floats d[kV * kH];
        JAHP_UNROLL for (int j = 0; j < kH; ++j) {
            JAHP_UNROLL for (int i = 0; i < kV; ++i)
                d[i * kH + j] = *reinterpret_cast<const Floats*>(w.rows[i] + j * w.column_step + c);
            into<kV, kH>(d + j);
        }
        JAHP_UNROLL for (int i = 0; i < kV; ++i) {
            into<kH, 1>(d + i * kH);
            JAHP_UNROLL for (int j = 0; j < kH; ++j)
                *reinterpret_cast<Floats*>(w.out + (i * kH + j) * w.point_stride + c) = d[i * kH + j];
        }
    }
}

template <int kV, int kH>
void output(const WinogradOutput& w) {
    const float slope = w.slope;
    for (int c = 0; c < w.channels; c += kFloats) {
        Floats columns[kWinogradTile * kH], y[kWinogradTile * kWinogradTile];
        JAHP_UNROLL for (int j = 0; j < kH; ++j) {
            Floats m[kV];
            JAHP_UNROLL for (int i = 0; i < kV; ++i)
                m[i] = *reinterpret_cast<const Floats*>(w.in + (i * kH + j) * w.point_stride + c);
            out_of<kV, 1>(m, columns + j, kH);
        }
        const Floats bias = *reinterpret_cast<const Floats*>(w.bias + c);
        JAHP_UNROLL for (int i = 0; i < kWinogradTile; ++i)
            out_of<kH, 1>(columns + i * kH, y + i * kWinogradTile, 1);
        for (int i = 0; i < w.rows_valid; ++i)
            for (int j = 0; j < w.columns_valid; ++j) {
                const Floats value = y[i * kWinogradTile + j] + bias;
                *reinterpret_cast<Floats*>(w.rows[i] + j * w.column_step + c) = value > 0 ? value : value * slope;
            }
    }
}

inline void input_loop(const WinogradInput& w) {
    if (w.points_v == 6)
        w.points_h == 6 ? input<6, 6>(w) : input<6, 5>(w);
    else
        w.points_h == 6 ? input<5, 6>(w) : input<5, 5>(w);
}

inline void output_loop(const WinogradOutput& w) {
    if (w.points_v == 6)
        w.points_h == 6 ? output<6, 6>(w) : output<6, 5>(w);
    else
        w.points_h == 6 ? output<5, 6>(w) : output<5, 5>(w);
}

}  // namespace
}  // namespace jahp
