// SPDX-License-Identifier: Apache-2.0
// From parameters to how symbols are coded: the scale's index among thresholds, and the row that belongs to it.
#pragma once

#include <cstdint>

#include "simd/isa.hpp"
#include "simd/symbol.hpp"

namespace jahp {

constexpr int kScaleKeys = 258;

struct ScaleTable {
    const std::int32_t* thresholds;  // scales - 1, rising; then INT32_MAX up to a multiple of 64
    const std::uint32_t* row_drop;   // of each scale row | drop << 28, room up to a multiple of 64
    int scales;                      // 1 to 65536
    // floor[scale_key(v)]: how many thresholds have a smaller key, so that the index of v is at least that.
    const std::uint16_t* floor;
    std::int32_t mean_mask;  // the mean's fraction, or 0: it does not choose the row
    std::int32_t skip;       // scale indices below are not coded
};

// Rises with v: eight steps an octave, as scale tables have about six. 0 for v <= 0, below kScaleKeys.
inline std::uint32_t scale_key(std::int32_t v) {
    if (v <= 0) return 0;
    const int octave = 31 - __builtin_clz(static_cast<unsigned>(v));
    const std::uint32_t eighth = octave >= 3 ? static_cast<std::uint32_t>(v) >> (octave - 3)
                                             : static_cast<std::uint32_t>(v) << (3 - octave);
    return static_cast<std::uint32_t>(octave) * 8 + eighth - 7;
}

// out[i] for i < n: index = number of thresholds <= scales[i]; row = (row | drop)[index] + ((mean & mean_mask) >>
// drop), or -1 if index < skip; mean = means[i], 0 where means is null.
using SymbolRows = void (*)(const std::int32_t* scales, const std::int32_t* means, const ScaleTable& table, int n,
                            Symbol* out);

// The fastest version for tables of so many scales.
SymbolRows symbol_rows_for(Isa isa, int scales);

void symbol_rows_scalar(const std::int32_t* scales, const std::int32_t* means, const ScaleTable& table, int n,
                        Symbol* out);
#if defined(__x86_64__)
// At most 64 scales.
void symbol_rows_avx512vnni(const std::int32_t* scales, const std::int32_t* means, const ScaleTable& table, int n,
                            Symbol* out);
#endif

}  // namespace jahp
