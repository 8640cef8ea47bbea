// SPDX-License-Identifier: Apache-2.0
// Range decoding by one warp (docs/reference/format.md, "Range coder"). Lane i of the warp holds the states of lanes i
// and i + 32 of the stream; a round takes one symbol of every lane of the stream, and words and escapes go to them in
// channel order.
//
// The chain of a round, from the states to the next states, is what an image waits for. So this warp finds entries and
// keeps the states, and leaves to others what becomes of an entry (context_decode.cuh, reveal). What does not depend on
// the states is loaded rounds ahead: rows two, their first nodes one, words hundreds; nothing stops a round at an
// error, which is kept until the step's end.
#pragma once

#include "layers.cuh"

namespace jahp::cuda {

enum Status {
    kSound,
    kTooShort,
    kTooManyEscapes,
    kLowState,
    kWordsEnd,
    kEscapesEnd,
    kNeedlessEscape,
    kBeyond,
    kBadEnd,
    kEscapesLeft,
    kBytesLeft,
    kBadSize
};

constexpr std::uint32_t kLaneStart = 1u << 16;
constexpr std::int32_t kMostSymbol = 32767;
constexpr std::int32_t kEscapedCode = 1 << 30;  // what an escape's 16 bits stand beside
constexpr std::int64_t kNoFault = INT64_MAX;
constexpr int kRefill = kRingWords / 2;  // words that are loaded together

JAHP_DEVICE std::uint32_t byte_word(const std::uint8_t* p) { return p[0] | static_cast<std::uint32_t>(p[1]) << 8; }

// The first fault in coding order wins, and of one symbol's the least code.
JAHP_DEVICE std::int64_t fault_of(std::int64_t symbol, std::int32_t code) { return symbol * 16 + code; }

// Of what belongs to no symbol, but stands in front of them all.
constexpr std::int64_t kOpening = std::int64_t{1} << 40;
JAHP_DEVICE std::int64_t opening_fault(std::int64_t detail, std::int32_t code) {
    return fault_of(detail - kOpening, code);
}

// The least over a warp.
JAHP_DEVICE std::int64_t least_of_warp(std::int64_t own, int lane) {
    if (ballot(kAllLanes, own != kNoFault) == 0) return kNoFault;
    for (int step = 16; step > 0; step /= 2) {
        const std::int32_t low = shuffle(kAllLanes, static_cast<std::int32_t>(own & 0xffffffff), lane ^ step);
        const std::int32_t high = shuffle(kAllLanes, static_cast<std::int32_t>(own >> 32), lane ^ step);
        const std::int64_t other = static_cast<std::int64_t>(
            static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32 | static_cast<std::uint32_t>(low));
        own = other < own ? other : own;
    }
    return own;
}

// Symbols to be decoded: of `positions` positions, `channels` each.
struct Source {
    const std::int32_t*
        rows;  // [position][channel], -1: not coded; null: channel c has row first_row + c and the mean 0
    const std::int32_t* means;  // likewise
    std::int32_t* out;  // of position p at p * stride: first codes, then values
    std::int64_t stride;
    int positions, channels, first_row;
    JAHP_DEVICE std::int32_t row(int p, int c) const {
        return rows == nullptr ? first_row + c : load(rows + static_cast<std::int64_t>(p) * channels + c);
    }
};

// One step of the search: the child of `node` in which slot lies. low .. high are the slots of the entries that are
// left.
JAHP_DEVICE int search(const Words4& node, std::int32_t slot, std::int32_t& low, std::int32_t& high) {
    const auto lower = [](std::uint32_t w) { return static_cast<std::int32_t>(w & 0xffff); };
    const auto upper = [](std::uint32_t w) { return static_cast<std::int32_t>(w >> 16); };
    const auto narrow = [&](std::int32_t end, bool right) {
        low = right ? end + 1 : low;
        high = right ? high : end;
    };
    const std::int32_t fourth = upper(node.w[1]);
    const bool four = slot > fourth;
    narrow(fourth, four);
    const std::int32_t second = four ? upper(node.w[2]) : upper(node.w[0]);
    const std::int32_t left = four ? lower(node.w[2]) : lower(node.w[0]),
                       right = four ? lower(node.w[3]) : lower(node.w[1]);
    const bool two = slot > second;
    narrow(second, two);
    const std::int32_t first = two ? right : left;
    const bool one = slot > first;
    narrow(first, one);
    return (four ? 4 : 0) + (two ? 2 : 0) + (one ? 1 : 0);
}

struct Coder {
    const DeviceModel& model;
    const TableRow* table;
    const Words4* nodes;
    const Job& job;
    std::uint32_t* ring;  // kRingWords words of 16 bits
    int lane;
    std::int64_t bytes = 0;  // of the payload
    std::uint32_t state[2] = {kLaneStart, kLaneStart};
    std::int32_t word = 0, words = 0, escape = 0, escapes = 0;  // read so far, and how many there are
    std::int32_t filled = 0;  // words that have been in the ring
    std::uint32_t pending[kRefill / 64] = {};  // those behind them
    const std::uint8_t *word_bytes = nullptr, *escape_bytes = nullptr;
    std::int64_t symbols = 0;  // of the sources before this one
    std::int64_t fault = kNoFault;
    std::int32_t code = kSound;  // what is reported
    std::int64_t detail = 0;
    // What was loaded ahead: the table rows of the next round, and the rows of the one behind it.
    TableRow next[2] = {};
    bool next_coded[2] = {};
    std::int32_t behind[2] = {-1, -1};
    int position = 0, base = 0, ahead_positions = 0, ahead_base = 0;  // ahead_positions: left
    const std::int32_t* ahead_rows = nullptr;  // of the position
    std::int32_t* out = nullptr;

    JAHP_DEVICE Coder(const DeviceModel& m, const TableRow* t, const Words4* n, const Job& j, std::uint32_t* r, int l)
        : model(m), table(t), nodes(n), job(j), ring(r), lane(l) {}

    // The same error in all lanes: that of the first lane which has one. True if there is any.
    JAHP_DEVICE bool agree(std::int32_t own, std::int64_t own_detail) {
        const std::uint32_t bad = ballot(kAllLanes, own != kSound);
        if (bad == 0) return false;
        const int first = first_bit(bad);
        code = shuffle(kAllLanes, own, first);
        detail = shuffle(kAllLanes, static_cast<std::int32_t>(own_detail), first);
        return true;
    }

    // What is wrong with the payload's head becomes a fault; then there are no words, and what is decoded does not
    // matter.
    JAHP_DEVICE void start(std::int64_t all_symbols) {
        bytes = job.size_dev == nullptr ? job.payload_bytes : *job.size_dev;
        const std::int64_t states = 4 * job.lanes;
        if (bytes < 0 || bytes > job.payload_bytes) {
            fault = opening_fault(0, kBadSize);
        } else if (bytes < 4 + states) {
            fault = opening_fault(0, kTooShort);
        } else {
            const std::uint8_t* p = job.payload_dev;
            const std::int64_t claimed = byte_word(p) | static_cast<std::int64_t>(byte_word(p + 2)) << 16;
            if (claimed > all_symbols || claimed > (bytes - 4 - states) / 2)
                fault = opening_fault(0, kTooManyEscapes);
            else
                open_sections(claimed, states);
        }
        load_pending();
        refill();
    }

    JAHP_DEVICE void open_sections(std::int64_t claimed, std::int64_t states) {
        escapes = static_cast<std::int32_t>(claimed);
        escape_bytes = job.payload_dev + 4;
        const std::uint8_t* state_bytes = escape_bytes + 2 * escapes;
        word_bytes = state_bytes + states;
        words = static_cast<std::int32_t>((job.payload_dev + bytes - word_bytes) / 2);
        for (int half = 0; half < 2; ++half) {
            const int own = lane + 32 * half;
            const std::uint8_t* s = state_bytes + 4 * own;
            if (own < job.lanes) state[half] = byte_word(s) | byte_word(s + 2) << 16;
            if (state[half] < kLaneStart && fault == kNoFault) fault = opening_fault(own, kLowState);
        }
    }

    JAHP_DEVICE void load_pending() {
        JAHP_UNROLL for (int i = 0; i < kRefill / 64; ++i) {
            const std::int32_t at = filled + 64 * i + 2 * lane;
            const auto word_at = [&](std::int32_t w) {
                return w < words ? byte_word(word_bytes + std::int64_t{2} * w) : 0;
            };
            const std::uint32_t low = word_at(at), high = word_at(at + 1);
            pending[i] = low | high << 16;
        }
    }

    // The older half of the ring has been used up; what was loaded a refill ago takes its place.
    JAHP_DEVICE void refill() {
        sync_warp();
        JAHP_UNROLL for (int i = 0; i < kRefill / 64; ++i)
            store(ring + (static_cast<std::uint32_t>(filled) & (kRingWords - 1)) / 2 + 32 * i + lane, pending[i]);
        filled += kRefill;
        sync_warp();
        load_pending();
    }

    template <int kHalves>
    JAHP_DEVICE void look_ahead(const Source& source) {
        const int width = kHalves == 2 || job.lanes > 32 ? 32 : job.lanes;
        JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
            next_coded[h] = behind[h] >= 0;
            if (next_coded[h]) next[h] = table[behind[h]];
            const int c = ahead_base + 32 * h + lane;
            behind[h] = -1;
            if (lane < width && c < source.channels && ahead_positions > 0)
                behind[h] = source.rows == nullptr ? source.first_row + c : load(ahead_rows + c);
        }
        ahead_base += width * kHalves;
        if (ahead_base < source.channels) return;
        ahead_base = 0;
        if (ahead_rows != nullptr) ahead_rows += source.channels;
        --ahead_positions;
    }

    // Before the first part of a source.
    JAHP_DEVICE void open(const Source& source) {
        position = base = ahead_base = 0;
        ahead_positions = source.positions;
        ahead_rows = source.rows;
        out = source.out;
        for (int i = 0; i < 2; ++i) job.lanes == 64 ? look_ahead<2>(source) : look_ahead<1>(source);
    }

    JAHP_DEVICE void note(const Source& source, int c, std::int32_t status) {
        if (fault == kNoFault)
            fault = fault_of(symbols + static_cast<std::int64_t>(position) * source.channels + c, status);
    }

    // The codes of positions up to `end`: an entry's number, or kEscapedCode and 16 bits.
    JAHP_DEVICE void decode(const Source& source, int end) {
        job.lanes == 64 ? decode_by<2>(source, end) : decode_by<1>(source, end);
    }

    template <int kHalves>
    JAHP_DEVICE void decode_by(const Source& source, int end) {
        const std::uint32_t before = (1u << lane) - 1, last_slot = (1u << model.prob_bits) - 1;
        const int width = kHalves == 2 ? 64 : job.lanes;
        while (position < end) {
            TableRow rows[kHalves];
            bool coded[kHalves];
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                rows[h] = next[h];
                coded[h] = next_coded[h];
            }
            look_ahead<kHalves>(source);
            std::int32_t slot[kHalves], low[kHalves], high[kHalves], k[kHalves], child[kHalves];
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                slot[h] = static_cast<std::int32_t>(state[h] & last_slot);
                low[h] = 0;
                high[h] = static_cast<std::int32_t>(last_slot);
                k[h] = search(rows[h].root, slot[h], low[h], high[h]);
                child[h] = static_cast<std::int32_t>(rows[h].root.w[3] >> 16) + k[h];
            }
            for (int level = 1; ballot(kAllLanes, (coded[0] && rows[0].levels > level) ||
                                                      (coded[kHalves - 1] && rows[kHalves - 1].levels > level)) != 0;
                 ++level) {
                JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                    if (!coded[h] || rows[h].levels <= level) continue;
                    const Words4 node = nodes[rows[h].nodes + child[h]];
                    const int step = search(node, slot[h], low[h], high[h]);
                    k[h] = 8 * k[h] + step;
                    child[h] = static_cast<std::int32_t>(node.w[3] >> 16) + step;
                }
            }
            std::uint32_t x[kHalves], needing[kHalves], escaping[kHalves];
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                const auto frequency = static_cast<std::uint32_t>(high[h] - low[h] + 1);
                x[h] = coded[h]
                           ? frequency * (state[h] >> model.prob_bits) + static_cast<std::uint32_t>(slot[h] - low[h])
                           : state[h];
                needing[h] = ballot(kAllLanes, coded[h] && x[h] < kLaneStart);
                escaping[h] = ballot(kAllLanes, coded[h] && k[h] == rows[h].size);
            }
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                const int c = base + 32 * h + lane;
                if (needing[h] >> lane & 1) {
                    const std::int32_t at = word + popcount(needing[h] & before);
                    const std::uint16_t bits = load(reinterpret_cast<const std::uint16_t*>(ring) +
                                                    (static_cast<std::uint32_t>(at) & (kRingWords - 1)));
                    x[h] = x[h] << 16 | bits;
                    if (at >= words) note(source, c, kWordsEnd);
                }
                word += popcount(needing[h]);
                state[h] = x[h];
                std::int32_t result = k[h];
                if (escaping[h] != 0) {
                    const std::int32_t at = escape + popcount(escaping[h] & before);
                    escape += popcount(escaping[h]);
                    if (escaping[h] >> lane & 1) {
                        const bool there = at < escapes;
                        result = kEscapedCode |
                                 static_cast<std::int32_t>(there ? byte_word(escape_bytes + std::int64_t{2} * at) : 0);
                        if (!there) note(source, c, kEscapesEnd);
                    }
                }
                if (coded[h]) store(out + c, result);
            }
            if (word + 32 * kHalves > filled) refill();
            base += width;
            if (base < source.channels) continue;
            base = 0;
            out += source.stride;
            ++position;
        }
    }

    // Behind the last part of a source.
    JAHP_DEVICE void close(const Source& source) {
        symbols += static_cast<std::int64_t>(source.positions) * source.channels;
    }

    JAHP_DEVICE void finish() {
        for (int half = 0; half < 2; ++half)
            if (agree(state[half] != kLaneStart ? kBadEnd : kSound, lane + 32 * half)) return;
        if (escape != escapes) {
            code = kEscapesLeft;
            return;
        }
        const std::uint8_t *left = word_bytes + std::int64_t{2} * word, *end = job.payload_dev + bytes;
        if (left == end) return;
        bool bad = bytes != job.min_bytes;
        for (const std::uint8_t* p = left + lane; p < end && !bad; p += 32) bad = *p != 0;
        agree(bad ? kBytesLeft : kSound, 0);
    }
};

}  // namespace jahp::cuda
