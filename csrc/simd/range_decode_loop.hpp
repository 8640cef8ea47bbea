// SPDX-License-Identifier: Apache-2.0
// The loop that the instruction sets share; each brings its own count of the ends below a slot. For range_decode_*.cpp alone:
// everything here has internal linkage, so that each file has its own copy, compiled for its own instructions.
#pragma once

#include <stdint.h>
#include <string.h>

#include "simd/range_decode.hpp"

namespace jahp {
namespace {

// below(line, slot): how many of the 32 entries are less than slot. Few variables and constants known to the compiler: with
// more, it keeps them in vector registers and fetches them at every symbol.
template <int kProbBits, typename Below>
inline int range_decode_entries(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, const Below& below) {
    const Symbol* const symbols = run.symbols;
    const int count = run.count, lane_mask = run.lane_mask;
    int32_t* const __restrict out = run.out;
    const uint8_t* next = state.next;
    const uint8_t* const last = state.end - 2;  // a word can be read from here at the latest
    const LinedRow* const rows = tables.rows;
    uint32_t* const __restrict lanes = state.lane;
    int i = from;
    for (; i < count; ++i) {
        const int32_t index = symbols[i].row;
        if (index < 0) {
            out[i] = 0;
            continue;
        }
        if (next > last) break;
        const LinedRow& row = rows[index];
        uint32_t x = lanes[i & lane_mask];
        const uint32_t slot = x & ((1u << kProbBits) - 1);
        const uint16_t* entries = row.entries;
        uint32_t k;
        if (single_line(row.size)) {
            k = below(entries, slot);
        } else {
            uint32_t line = (entries - kLineBuckets)[slot >> (kProbBits - kLineBucketBits)], less;
            while ((less = below(entries + line * kLineEntries, slot)) == static_cast<uint32_t>(line == 0 ? kLineEntries - 1 : kLineEntries)) ++line;
            k = less + (line == 0 ? 0 : line * kLineEntries - 1);
        }
        if (k == static_cast<uint32_t>(row.size)) break;
        uint32_t around;
        memcpy(&around, entries + k, sizeof around);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        const uint32_t before = around & 0xFFFF, end = around >> 16;
#else
        const uint32_t before = around >> 16, end = around & 0xFFFF;
#endif
        x = ((end - before) & 0xFFFF) * (x >> kProbBits) + slot - ((before + 1) & 0xFFFF);
        const uint32_t word = next[0] | static_cast<uint32_t>(next[1]) << 8;
        const uint32_t need = x < 65536u;  // without a branch: at high rates it would be taken about as often as not
        lanes[i & lane_mask] = x << (need << 4) | (word & (0u - need));
        next += need << 1;
        out[i] = row.low + static_cast<int32_t>(k);
    }
    state.next = next;
    return i;
}

template <typename Below>
inline int range_decode(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond, const Below& below) {
    const int end = tables.prob_bits == 15 ? range_decode_entries<15>(tables, state, run, from, below)
                                           : range_decode_entries<16>(tables, state, run, from, below);
    const Symbol* const __restrict symbols = run.symbols;
    int32_t* const __restrict out = run.out;
    const int32_t mean_bits = run.mean_bits, shift_mask = run.shift_mask;
    int32_t most = 0, least = 0;
    for (int i = from; i < end; ++i) {  // a loop of its own, which is vectorised
        const int32_t value = out[i] + ((symbols[i].mean >> mean_bits) & shift_mask & ~(symbols[i].row >> 31));
        out[i] = value;
        most = value > most ? value : most;
        least = value < least ? value : least;
    }
    beyond = beyond || most > 32767 || least < -32767;
    return end;
}

}  // namespace
}  // namespace jahp
