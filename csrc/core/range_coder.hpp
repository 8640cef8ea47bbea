// SPDX-License-Identifier: Apache-2.0
// The range coder, in its rANS form, with interleaved lanes (docs/format.md, "Range coder").
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
//    decoder runs forwards. All lanes share one sequence of words; a word is taken by the lane that needs it, in the order
//    of the symbols.
//  * Every lane starts (for the encoder) and must end (for the decoder) at x = 2^16, and no word may be left over: that is
//    the end check. It finds almost all damage but is no checksum; the container has those.
//  * An escape is coded as the table's last entry; the value itself stands as one 16-bit two's complement word in a section
//    of its own in front of the states, so that lanes never wait for each other's magnitudes.
//
// Payload: u32 escapes | escapes x i16 | lanes x u32 states | u16 words ... | zeros (see finish). Little-endian throughout.
// Neither class is safe to share between threads; both read their tables through a reference that must outlive them.
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

    // Appends `value` under `row` for lane `channel` mod lanes. The table is consulted at value - shift, an escape holds the
    // value itself. Throws Error(usage) if |value| > 32767.
    void put(int channel, std::int32_t row, std::int32_t value, std::int32_t shift = 0);

    // The most lanes whose states (4 bytes each) take at most 1/200 of the payload, or 1. Integer arithmetic: the same everywhere.
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
    RangeDecoder(const CdfTables& tables, int lanes, std::span<const std::uint8_t> payload, std::uint64_t max_symbols);

    // The next symbol of `lane` under `row`; mirrors RangeEncoder::put. Throws Error(format) at the end of the words or
    // escapes, for an escape that the table could have coded, and for a value beyond 32767.
    std::int32_t get(int lane, std::int32_t row, std::int32_t shift = 0) {
        const CdfTables::Row& r = tables_.row(row);
        std::uint32_t x = state_[lane];
        const std::uint32_t slot = x & mask_;
        std::int32_t k = r.buckets[slot >> bucket_shift_];
        while (k < r.size && r.starts[k + 1] <= slot) ++k;
        const std::uint32_t start = r.starts[k];
        x = (tables_.end(r, k) - start) * (x >> prob_bits_) + slot - start;
        if (x < kLaneStart) x = x << 16 | next_word();
        state_[lane] = x;
        if (k == r.size) [[unlikely]] return get_escape(r, shift);
        const std::int32_t value = r.low + k + shift;
        if (value > kMaxSymbol || value < -kMaxSymbol) [[unlikely]] value_out_of_range(value);
        return value;
    }

    // The end check: all lanes back at 2^16, every escape and word used, and nothing behind them but zeros, those only in a
    // payload of exactly min_bytes. Throws Error(format).
    void finish(std::size_t min_bytes = 0) const;

  private:
    std::uint32_t next_word() {
        if (next_ == end_) [[unlikely]] out_of_words();
        const std::uint32_t word = next_[0] | static_cast<std::uint32_t>(next_[1]) << 8;
        next_ += 2;
        return word;
    }
    std::int32_t get_escape(const CdfTables::Row& row, std::int32_t shift);
    [[noreturn]] static void out_of_words();
    [[noreturn]] static void value_out_of_range(std::int32_t value);

    const CdfTables& tables_;
    int prob_bits_, bucket_shift_, lanes_;
    std::uint32_t mask_;
    std::uint32_t state_[kMaxLanes];
    const std::uint8_t *begin_, *next_, *end_;  // words; end_ leaves out an odd last byte
    const std::uint8_t *escape_, *escape_end_;
    std::size_t bytes_;
};

}  // namespace jahp
