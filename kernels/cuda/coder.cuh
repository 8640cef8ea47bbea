// SPDX-License-Identifier: Apache-2.0
// Range decoding by one warp (docs/reference/format.md, "Range coder"). Lane i of the warp holds the states of lanes i
// and i + 32 of the stream; a round takes one symbol of every lane of the stream, and words and escapes go to them in
// channel order.
//
// The chain of a round, from the states to the next states, is what an image waits for. So this warp finds entries and
// keeps the states, and leaves the rest to others: they gather what is coded of a position into slots before
// (context_decode.cuh, stage), and make values of entries behind (reveal). Words lie ready in a ring. Nothing stops a
// round at an error or an escape: both are kept until the position's end.
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
constexpr std::uint32_t kNoChannel = 0xffffffffu;

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

// What the coding warp must know of a symbol: w[0] and w[1] are TableRow's `buckets` and `ends`, w[2] is the channel,
// w[3] the row's size. A slot that no symbol is in has the size -1 and another row's places.
using Slot = Words4;

JAHP_DEVICE bool coded(const Slot& slot) { return static_cast<std::int32_t>(slot.w[3]) >= 0; }

// Of kPartPositions positions: how many rounds each has, and their slots, `lanes` a round.
struct Stage {
    std::int32_t* rounds;
    Slot* slots;
    int pitch;  // slots from one position to the next
};

// An entry of a row, or a guess: it lies behind the slot `before` and ends with `end`, both modulo 2^16.
struct Entry {
    std::uint32_t before, end;
    std::int32_t number;

    // The entry of a slot x, if it is `number` or one of the two behind it; otherwise `end` is less than x.
    JAHP_DEVICE void narrow(const std::uint8_t* tables, const Slot& s, std::uint32_t x) {
        const std::uint16_t* ends = reinterpret_cast<const std::uint16_t*>(tables + s.w[1]) + number;
        const std::uint32_t e0 = ends[0], e1 = ends[1], e2 = ends[2], e3 = ends[3];
        const bool one = x > e1, two = x > e2;
        before = two ? e2 : one ? e1 : e0;
        end = two ? e3 : one ? e2 : e1;
        number += (one ? 1 : 0) + (two ? 1 : 0);
    }

    // What a state becomes by it, before a word.
    JAHP_DEVICE std::uint32_t next(std::uint32_t state, int bits) const {
        const std::uint32_t frequency = (end - before) & 0xffff,
                            above = ((state & ((1u << bits) - 1)) - before - 1) & 0xffff;
        return frequency * (state >> bits) + above;
    }

    JAHP_DEVICE void guess(const std::uint8_t* tables, const Slot& s, std::uint32_t x) {
        const auto* buckets = reinterpret_cast<const std::uint16_t*>(tables + (s.w[0] & ~kBucketShift));
        number = buckets[shift_right(x, s.w[0])];
        narrow(tables, s, x);
    }
};

struct Coder {
    const DeviceModel& model;
    const Job& job;
    std::uint32_t* ring;  // kRingWords words of 16 bits, and all of them again
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

    JAHP_DEVICE Coder(const DeviceModel& m, const Job& j, std::uint32_t* r, int l)
        : model(m), job(j), ring(r), lane(l) {}

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
        std::uint32_t* to = ring + (static_cast<std::uint32_t>(filled) & (kRingWords - 1)) / 2 + lane;
        sync_warp();
        JAHP_UNROLL for (int i = 0; i < kRefill / 64; ++i) {
            store(to + 32 * i, pending[i]);
            store(to + 32 * i + kRingWords / 2, pending[i]);
        }
        filled += kRefill;
        sync_warp();
        load_pending();
    }

    JAHP_DEVICE void note(std::int64_t symbol, std::int32_t status) {
        const std::int64_t own = fault_of(symbols + symbol, status);
        fault = own < fault ? own : fault;
    }

    // The codes of positions first .. end - 1, which are staged: an entry's number, or kEscapedCode and 16 bits.
    JAHP_DEVICE void decode(const Source& source, const Stage& stage, const Slot* idle, const std::uint8_t* tables,
                            int first, int end) {
        for (int p = first; p < end; ++p)
            job.lanes == 64 ? decode_by<2>(source, stage, idle, tables, p, p - first)
                            : decode_by<1>(source, stage, idle, tables, p, p - first);
    }

    template <int kHalves>
    JAHP_DEVICE void decode_by(const Source& source, const Stage& stage, const Slot* idle, const std::uint8_t* tables,
                               int position, int of_stage) {
        const int rounds = load(stage.rounds + of_stage);
        const int width = kHalves == 2 || lane < job.lanes ? job.lanes : 0;  // idle lanes stay where they are
        const Slot* const first = width > 0 ? stage.slots + of_stage * stage.pitch + lane : idle;
        std::int32_t* const out = opaque(source.out + position * source.stride);
        Marks marks;
        const Slot* at = first;
        for (int left = rounds; left > 0;) {
            if (filled - word < job.lanes) refill();
            const int most = (filled - word) >> first_bit(static_cast<std::uint32_t>(job.lanes));  // as there are words
            const int turn = left < most ? left : most;
            at = decode_rounds<kHalves>(at, width, tables, out, turn, marks);
            left -= turn;
        }
        const std::int64_t symbol = static_cast<std::int64_t>(position) * source.channels;
        if (marks.ended != kNoChannel) note(symbol + marks.ended, kWordsEnd);
        if (ballot(kAllLanes, marks.escaped != 0) != 0) take_escapes<kHalves>(first, width, rounds, out, symbol);
    }

    // What a lane has met at a position: the channel of its first symbol that found no word; escapes.
    struct Marks {
        std::uint32_t ended = kNoChannel;
        int escaped = 0;
    };

    // Returns the slots behind those of these rounds. Reads one round ahead.
    template <int kHalves>
    JAHP_DEVICE const Slot* decode_rounds(const Slot* at, int width, const std::uint8_t* tables, std::int32_t* out,
                                          int rounds, Marks& marks) {
        const int bits = model.prob_bits;
        const std::uint32_t before = (1u << lane) - 1, last_slot = (1u << bits) - 1;
        const int start = word & (kRingWords - 1), end = start + words - word;
        int here = start;
        Slot next[kHalves];
        JAHP_UNROLL for (int h = 0; h < kHalves; ++h)
            next[h] = load(at + 32 * h);
        JAHP_UNROLL_2 for (; rounds > 0; --rounds) {
            Slot slot[kHalves];
            Entry entry[kHalves];
            std::uint32_t x[kHalves], needing[kHalves];
            at += width;
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                slot[h] = next[h];
                next[h] = load(at + 32 * h);
                entry[h].guess(tables, slot[h], state[h] & last_slot);
            }
            // Whether that was the entry is known later than what the state would be: no wait stands between them.
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h)
                x[h] = entry[h].next(state[h], bits);
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h)
                while (unlikely((state[h] & last_slot) > entry[h].end)) {
                    ++entry[h].number;
                    entry[h].narrow(tables, slot[h], state[h] & last_slot);
                    x[h] = entry[h].next(state[h], bits);
                }
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h)
                needing[h] = ballot(kAllLanes, coded(slot[h]) && x[h] < kLaneStart);
            JAHP_UNROLL for (int h = 0; h < kHalves; ++h) {
                const int own = here + popcount(needing[h] & before);
                const std::uint16_t own_word = load(reinterpret_cast<const std::uint16_t*>(ring) + own);
                const bool need = coded(slot[h]) && x[h] < kLaneStart;
                state[h] = need ? x[h] << 16 | own_word : coded(slot[h]) ? x[h] : state[h];
                if (need && own >= end && slot[h].w[2] < marks.ended) marks.ended = slot[h].w[2];
                here += popcount(needing[h]);
                marks.escaped += entry[h].number == static_cast<std::int32_t>(slot[h].w[3]) ? 1 : 0;
                if (coded(slot[h])) store(out + slot[h].w[2], entry[h].number);
            }
        }
        word += here - start;
        return at;
    }

    // Of a position that is decoded: what stands beside its escapes, in coding order.
    template <int kHalves>
    JAHP_DEVICE void take_escapes(const Slot* at, int width, int rounds, std::int32_t* out, std::int64_t first) {
        for (; rounds > 0; --rounds, at += width) {
            for (int h = 0; h < kHalves; ++h) {
                const Slot slot = load(at + 32 * h);
                const bool escaped = coded(slot) && load(out + slot.w[2]) == static_cast<std::int32_t>(slot.w[3]);
                const std::uint32_t escaping = ballot(kAllLanes, escaped);
                const std::int32_t own = escape + popcount(escaping & ((1u << lane) - 1));
                escape += popcount(escaping);
                if (!escaped) continue;
                const bool there = own < escapes;
                if (!there) note(first + slot.w[2], kEscapesEnd);
                store(out + slot.w[2], kEscapedCode | static_cast<std::int32_t>(
                                                          there ? byte_word(escape_bytes + std::int64_t{2} * own) : 0));
            }
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
