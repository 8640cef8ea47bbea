// SPDX-License-Identifier: Apache-2.0
#include "simd/overlap.hpp"

namespace jahp {

void overlap_scalar(const OverlapArguments& a) {
    for (int j = 0; j < a.columns; ++j)
        for (int o = 0; o < 2 * a.outputs; ++o) {
            std::uint32_t sum = 0;
            for (int t = 0; t < a.count; ++t) {
                const std::int32_t* const at = a.rows[t] + j * a.stride + o;
                sum += static_cast<std::uint32_t>(at[a.stride]) + static_cast<std::uint32_t>(at[2 * a.outputs]);
                if (o < a.outputs) sum += static_cast<std::uint32_t>(at[4 * a.outputs - a.stride]);
            }
            a.sums[2 * a.outputs * j + o] = static_cast<std::int32_t>(sum);
        }
}

}  // namespace jahp
