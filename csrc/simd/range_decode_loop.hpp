// SPDX-License-Identifier: Apache-2.0
// The loop that the instruction sets share; each brings its own count of the ends below a slot, and perhaps its own way
// to decode symbols of 16 lanes together. For range_decode_*.cpp alone: everything here has internal linkage, so that
// each file has its own copy, compiled for its own instructions.
#pragma once

#include <stdint.h>
#include <string.h>

#include "simd/range_decode.hpp"

namespace jahp {
namespace {

constexpr int
    kGroup = 16;  // symbols of different lanes that are decoded stage by stage: no stage waits for the one before

// The entry of a slot in a row, or row.size for the escape. Kernel::below(line, slot): how many of the 32 entries are
// less than slot.
template <typename Kernel, int kProbBits>
inline uint32_t entry_of(const LinedRow& row, uint32_t slot) {
    const uint16_t* entries = row.entries;
    if (single_line(row.size)) return Kernel::below(entries, slot);
    uint32_t line = (entries - kLineBuckets)[slot >> (kProbBits - kLineBucketBits)], less;
    while ((less = Kernel::below(entries + line * kLineEntries, slot)) ==
           static_cast<uint32_t>(line == 0 ? kLineEntries - 1 : kLineEntries))
        ++line;
    return less + (line == 0 ? 0 : line * kLineEntries - 1);
}

// The last slot before entry k in the lower half, the last of k in the upper.
inline uint32_t ends_around(const LinedRow& row, uint32_t k) {
    uint32_t around;
    memcpy(&around, row.entries + k, sizeof around);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return around;
#else
    return around >> 16 | around << 16;
#endif
}

template <int kProbBits>
inline uint32_t next_state(uint32_t x, uint32_t around) {
    const uint32_t slot = x & ((1u << kProbBits) - 1), before = around & 0xFFFF, end = around >> 16;
    return ((end - before) & 0xFFFF) * (x >> kProbBits) + slot - ((before + 1) & 0xFFFF);
}

// With a word, if it needs one: without a branch, which at high rates would go one way as often as the other.
inline uint32_t refilled(uint32_t x, const uint8_t*& next) {
    const uint32_t word = next[0] | static_cast<uint32_t>(next[1]) << 8, need = x < 65536u;
    next += need << 1;
    return x << (need << 4) | (word & (0u - need));
}

// Symbols of kGroup lanes, with a word left for each. Changes nothing but `out` and returns false if one is an escape.
template <typename Kernel, int kProbBits>
inline bool decode_group(const LinedRow* rows, const Symbol* symbols, uint32_t* __restrict lanes, const uint8_t*& next,
                         int32_t* __restrict out) {
    uint32_t around[kGroup], x[kGroup];
    bool special = false;
    for (int j = 0; j < kGroup; ++j) {
        const LinedRow& row = rows[symbols[j].row];
        const uint32_t k = entry_of<Kernel, kProbBits>(row, lanes[j] & ((1u << kProbBits) - 1));
        special |= k == static_cast<uint32_t>(row.size);
        around[j] = ends_around(row, k);
        out[j] = row.low + static_cast<int32_t>(k);
    }
    if (special) return false;
    for (int j = 0; j < kGroup; ++j) x[j] = next_state<kProbBits>(lanes[j], around[j]);
    for (int j = 0; j < kGroup; ++j) lanes[j] = refilled(x[j], next);
    return true;
}

// Few variables and constants known to the compiler: with more, it keeps them in vector registers and fetches them at
// every symbol.
template <typename Kernel, int kProbBits>
inline int range_decode_entries(const LinedTables& tables, RangeState& state, const RangeRun& run, int from) {
    const Symbol* const symbols = run.symbols;
    const int count = run.count, lane_mask = run.lane_mask;
    int32_t* const __restrict out = run.out;
    const uint8_t* next = state.next;
    const LinedRow* const rows = tables.rows;
    uint32_t* const __restrict lanes = state.lane;
    for (int i = from; i < count;) {
        const bool whole = lane_mask >= kGroup - 1 && i % kGroup == 0 && count - i >= kGroup &&
                           state.end - next >= 2 * kGroup;
        if (whole && Kernel::template group<kProbBits>(rows, symbols + i, lanes + (i & lane_mask), next, out + i)) {
            i += kGroup;
            continue;
        }
        for (const int stop = i + kGroup - i % kGroup; i < count && i < stop; ++i) {
            const LinedRow& row = rows[symbols[i].row];
            const uint32_t x = lanes[i & lane_mask], k = entry_of<Kernel, kProbBits>(row, x & ((1u << kProbBits) - 1));
            if (state.end - next < 2 || k == static_cast<uint32_t>(row.size)) {
                state.next = next;
                return i;
            }
            lanes[i & lane_mask] = refilled(next_state<kProbBits>(x, ends_around(row, k)), next);
            out[i] = row.low + static_cast<int32_t>(k);
        }
    }
    state.next = next;
    return count;
}

template <typename Kernel>
inline int range_decode(const LinedTables& tables, RangeState& state, const RangeRun& run, int from, bool& beyond) {
    const int end = tables.prob_bits == 15 ? range_decode_entries<Kernel, 15>(tables, state, run, from)
                                           : range_decode_entries<Kernel, 16>(tables, state, run, from);
    const Symbol* const __restrict symbols = run.symbols;
    int32_t* const __restrict out = run.out;
    const int32_t mean_bits = run.mean_bits, shift_mask = run.shift_mask;
    int32_t most = 0, least = 0;
    for (int i = from; i < end; ++i) {  // a loop of its own, which is vectorised
        const int32_t value = out[i] + ((symbols[i].mean >> mean_bits) & shift_mask);
        out[i] = value;
        most = value > most ? value : most;
        least = value < least ? value : least;
    }
    beyond = beyond || most > 32767 || least < -32767;
    return end;
}

}  // namespace
}  // namespace jahp
