// SPDX-License-Identifier: Apache-2.0
// Decoding a run of symbols: the inner loop of RangeDecoder (core/range_coder.hpp has the arithmetic and why it is
// right).
//
// A row of probabilities stands in lines of 32 inclusive ends: 0xFFFF, then the last slot of each entry, the escape's
// being 2^P - 1, then 0xFFFF. So the entry of a slot is the number of ends below it, counted in one go, and the two
// words around it give its start and frequency, both modulo 2^16, which is enough because no frequency reaches 2^16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"
#include "simd/symbol.hpp"

namespace jahp {

constexpr int kLineEntries = 32;
constexpr int kLineBucketBits = 6;
constexpr int kLineBuckets = 1 << kLineBucketBits;

struct LinedRow {
    // 64-byte aligned, whole lines; one entry behind may be read. A row of more than one line has kLineBuckets words in
    // front: the line that the search for a bucket's slots may begin with.
    const std::uint16_t* entries;
    std::int32_t low;   // value of entry 0
    std::int32_t size;  // entries before the escape
};

constexpr bool single_line(std::int32_t size) { return size + 2 <= kLineEntries; }

struct LinedTables {
    const LinedRow* rows;
    int prob_bits;
};

struct RangeState {
    std::uint32_t lane[64];
    const std::uint8_t *next, *end;  // of the words
};

struct RangeRun {
    const Symbol* symbols;  // those of a position that are coded
    int count;
    int lane_mask;  // symbol i belongs to lane i & lane_mask
    int mean_bits;  // out[i] = low + entry + ((mean >> mean_bits) & shift_mask)
    std::int32_t shift_mask;  // -1 or 0
    std::int32_t* out;
};

// Decodes symbols from `from` on until one is an escape or finds no word left, which has changed nothing yet; returns
// its index, or count. Sets `beyond` if one of the values leaves ±32767, else leaves it.
using RangeDecodeRun = int (*)(const LinedTables& tables, RangeState& state, const RangeRun& run, int from,
                               bool& beyond);

RangeDecodeRun range_decode_for(Isa isa);

int range_decode_scalar(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond);
#if defined(__x86_64__)
int range_decode_avx2(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond);
int range_decode_avx512vnni(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond);
#elif defined(__wasm__)
int range_decode_wasm(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond);
#endif

}  // namespace jahp
