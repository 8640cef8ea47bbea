// SPDX-License-Identifier: Apache-2.0
// Decoding a run of symbols: the inner loop of RangeDecoder (core/range_coder.hpp has the arithmetic and why it is right).
//
// A row of probabilities stands in lines of 32 inclusive ends: 0xFFFF, then the last slot of each entry, the escape's being
// 2^P - 1, then 0xFFFF. So the entry of a slot is the number of ends below it, counted in one go, and the two words around it
// give its start and frequency, both modulo 2^16, which is enough because no frequency reaches 2^16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"
#include "simd/symbol.hpp"

namespace jahp {

constexpr int kLineEntries = 32;
constexpr int kLineBucketBits = 6;  // rows of more than one line: 64 buckets tell the line to begin with

struct LinedRow {
    std::uint32_t line;    // the first one
    std::int32_t bucket;   // the first bucket, or -1: the row has one line
    std::int32_t low;      // value of entry 0
    std::int32_t size;     // entries before the escape
};

struct LinedTables {
    const LinedRow* rows;
    const std::uint16_t* lines;    // 64-byte aligned; one entry more than the lines have may be read
    const std::uint16_t* buckets;  // line within the row that holds the bucket's first slot
    int prob_bits;
};

struct RangeState {
    std::uint32_t lane[64];
    const std::uint8_t *next, *end;  // of the words
};

// Decodes symbols `from` .. count - 1, symbol i of lane i & lane_mask, into out[i] = low + entry; 0 for symbols of row -1, which
// take nothing from the lanes. Stops at a symbol that is an escape or finds no word left, which has changed nothing yet; returns
// its index, or count.
using RangeDecodeRun = int (*)(const LinedTables& tables, RangeState& state, const Symbol* symbols, int from, int count, int lane_mask,
                               std::int32_t* out);

RangeDecodeRun range_decode_for(Isa isa);

int range_decode_scalar(const LinedTables& tables, RangeState& state, const Symbol* symbols, int from, int count, int lane_mask, std::int32_t* out);
#if defined(__x86_64__)
int range_decode_avx2(const LinedTables& tables, RangeState& state, const Symbol* symbols, int from, int count, int lane_mask, std::int32_t* out);
int range_decode_avx512vnni(const LinedTables& tables, RangeState& state, const Symbol* symbols, int from, int count, int lane_mask, std::int32_t* out);
#endif

}  // namespace jahp
