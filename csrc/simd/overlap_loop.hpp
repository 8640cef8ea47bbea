// SPDX-License-Identifier: Apache-2.0
// The loop that the instruction sets share. For overlap_*.cpp alone: internal linkage, so that each file has its own
// copy.
#pragma once

#include "simd/overlap.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kLanes = kOverlapBeyond;
typedef std::uint32_t Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Lanes load(const std::int32_t* p) { return *reinterpret_cast<const Lanes*>(p); }

template <int kCount>
void sums_of(const OverlapArguments& a) {
    const std::ptrdiff_t left = 4 * a.outputs - a.stride, here = 2 * a.outputs, right = a.stride;
    for (int first = 0; first < 2 * a.outputs; first += kLanes) {
        Lanes mask{};
        for (int i = 0; i < kLanes; ++i) mask[i] = first + i < a.outputs ? ~0u : 0;
        for (int j = 0; j < a.columns; ++j) {
            Lanes sum{}, edge{};
            JAHP_UNROLL for (int t = 0; t < kCount; ++t) {
                const std::int32_t* const at = a.rows[t] + j * a.stride + first;
                sum += load(at + right) + load(at + here);
                edge += load(at + left);
            }
            sum += edge & mask;
            std::int32_t* const to = a.sums + here * j + first;
            if (2 * a.outputs - first >= kLanes || first == 0)
                *reinterpret_cast<Lanes*>(to) = sum;  // what is behind comes with the next column, or is beyond
            else
                for (int i = 0; i < 2 * a.outputs - first; ++i) to[i] = static_cast<std::int32_t>(sum[i]);
        }
    }
}

inline void overlap_loop(const OverlapArguments& a) { a.count == 3 ? sums_of<3>(a) : sums_of<2>(a); }

}  // namespace
}  // namespace jahp
