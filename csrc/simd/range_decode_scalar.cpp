// SPDX-License-Identifier: Apache-2.0
#include "simd/range_decode_loop.hpp"

namespace jahp {
namespace {

struct Scalar {
    static uint32_t below(const uint16_t* line, uint32_t slot) {
        uint16_t less = 0;
        for (int i = 0; i < kLineEntries; ++i)
            less = static_cast<uint16_t>(less + (line[i] < static_cast<uint16_t>(slot)));
        return less;
    }
    template <int kProbBits>
    static bool group(const LinedRow* rows, const Symbol* symbols, uint32_t* lanes, const uint8_t*& next,
                      int32_t* out) {
        return decode_group<Scalar, kProbBits>(rows, symbols, lanes, next, out);
    }
};

}  // namespace

int range_decode_scalar(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    return range_decode<Scalar>(tables, state, run, from, beyond);
}

}  // namespace jahp
