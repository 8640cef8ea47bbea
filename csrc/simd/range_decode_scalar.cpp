// SPDX-License-Identifier: Apache-2.0
#include "simd/range_decode_loop.hpp"

namespace jahp {

int range_decode_scalar(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode(tables, state, run, from, beyond, [](const uint16_t* line, uint32_t slot) {
        uint16_t less = 0;
        for (int i = 0; i < kLineEntries; ++i) less = static_cast<uint16_t>(less + (line[i] < static_cast<uint16_t>(slot)));
        return static_cast<uint32_t>(less);
    });
}

}  // namespace jahp
