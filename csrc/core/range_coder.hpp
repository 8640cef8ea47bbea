// SPDX-License-Identifier: Apache-2.0
// The range coder, in its rANS form, with interleaved lanes (docs/reference/format.md, "Range coder").
//
// READ ME FIRST
//  * A lane is one 32-bit state x in [2^16, 2^32). Words of 16 bits enter and leave it. P = prob_bits.
//        decode:  slot = x mod 2^P; find the entry with start <= slot < start + freq;
//                 x = freq * (x >> P) + slot - start;  if x < 2^16: x = x * 2^16 + next word
//        encode:  if x >= freq << (32 - P): emit x mod 2^16, x >>= 16;
//                 x = (x / freq) << P | x mod freq + start
//    One word a symbol is always enough: after decoding x >= freq * (x >> P) >= 2^(16-P) >= 1, so x * 2^16 >= 2^16.
//    In 32 bits freq << (32 - P) cannot overflow because freq < 2^P.
//  * rANS is last in, first out: the encoder keeps all symbols and runs backwards over them in finish(), so that the
//    decoder runs forwards. All lanes share one sequence of words; a word is taken by the lane that needs it, in the
//    order of the symbols.
//  * Every lane starts (for the encoder) and must end (for the decoder) at x = 2^16, and no word may be left over: that
//  is
//    the end check. It finds almost all damage but is no checksum; the container has those.
//  * An escape is coded as the table's last entry; the value itself stands as one 16-bit two's complement word in a
//  section
//    of its own in front of the states, so that lanes never wait for each other's magnitudes.
//
// Payload: u32 escapes | escapes x i16 | lanes x u32 states | u16 words ... | zeros (see finish). Little-endian
// throughout. Neither class is safe to share between threads; both read their tables through a reference that must
// outlive them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cdf.hpp"
#include "core/error.hpp"

namespace jahp {

constexpr std::uint32_t kLaneStart = 1u << 16;
constexpr std::int32_t kMaxSymbol = 32767;  // |value| of any symbol, escaped or not
constexpr int kMaxLanes = 64;

// 1, 2, 4 ... 64; else Error(usage).
void check_lanes(int lanes);

class RangeEncoder {
public:
    explicit RangeEncoder(const CdfTables& tables) : tables_(tables) {}

    // Appends `value` under `row` for lane `rank` mod lanes; rank: symbols put for its position before. The table is
    // consulted at value - shift, an escape holds the value itself. Throws Error(usage) if |value| > 32767.
    void put(int rank, std::int32_t row, std::int32_t value, std::int32_t shift = 0);

    // The most lanes whose states (4 bytes each) take at most 1/200 of the payload, or 1. Integer arithmetic: the same
    // everywhere.
    int choose_lanes() const;

    // The whole payload, zero-padded to at least min_bytes. The encoder is empty afterwards.
    std::vector<std::uint8_t> finish(int lanes, std::size_t min_bytes = 0);

private:
    struct Entry {
        std::uint16_t start;
        std::uint16_t freq;
    };
    const CdfTables& tables_;
    std::vector<Entry> entries_;
    std::vector<std::uint8_t> lane_of_;  // among kMaxLanes
    std::vector<std::uint16_t> escapes_;
};

class RangeDecoder {
public:
    // The payload must stay alive and unchanged. max_symbols bounds the escapes that it may claim.
    // Throws Error(format) if it cannot hold the states or claims more escapes than that.
    RangeDecoder(const CdfTables& tables, int lanes, std::span<const std::uint8_t> payload, std::uint64_t max_symbols,
                 Isa isa = best_isa());

    // The next symbol of `lane` under `row`; mirrors RangeEncoder::put. Throws Error(format) at the end of the words or
    // escapes, for an escape that the table could have coded, and for a value beyond 32767.
    std::int32_t get(int lane, std::int32_t row, std::int32_t shift = 0);

    // The next `count` symbols, those of channels 0, 1 ... of one position: as get() for each, with lane = rank mod
    // lanes and shift = shifted ? mean >> mean_bits : 0. Symbols of row -1 are passed over and have no rank; out is 0
    // there.
    void run(const Symbol* symbols, int count, int mean_bits, bool shifted, std::int32_t* out);

    // The end check: all lanes back at 2^16, every escape and word used, and nothing behind them but zeros, those only
    // in a payload of exactly min_bytes. Throws Error(format).
    void finish(std::size_t min_bytes = 0) const;

private:
    void run_coded(const Symbol* symbols, int count, int mean_bits, bool shifted, std::int32_t* out);
    std::uint32_t next_word();
    std::int32_t get_escape(const CdfTables::Row& row, std::int32_t shift);

    const CdfTables& tables_;
    LinedTables lined_;
    RangeDecodeRun run_;
    int prob_bits_, lanes_;
    RangeState state_;
    const std::uint8_t *escape_, *escape_end_;
    std::size_t bytes_;
    std::vector<Symbol> coded_;  // of a position that has others
    std::vector<std::int32_t> values_;
};

}  // namespace jahp
