// SPDX-License-Identifier: Apache-2.0
#include "simd/symbol_rows.hpp"

namespace jahp {

void symbol_rows_scalar(const std::int32_t* scales, const std::int32_t* means, const ScaleTable& t, int n,
                        Symbol* out) {
    for (int i = 0; i < n; ++i) {
        const std::int32_t scale = scales[i], mean = means == nullptr ? 0 : means[i];
        int index = t.floor[scale_key(scale)];
        index += index < t.scales - 1 && t.thresholds[index] <= scale;  // mostly right after this, and without a branch
        while (index < t.scales - 1 && t.thresholds[index] <= scale) ++index;
        const std::uint32_t both = t.row_drop[index];
        const std::int32_t row = static_cast<std::int32_t>(both & 0x0FFFFFFF) + ((mean & t.mean_mask) >> (both >> 28));
        out[i] = {index < t.skip ? -1 : row, mean};
    }
}

}  // namespace jahp
