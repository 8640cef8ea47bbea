// SPDX-License-Identifier: Apache-2.0
// Range decoding by one warp (docs/format.md, "Range coder"). Lane i of the warp holds the states of lanes i and i + 32 of the
// stream; a round takes the symbols of up to 32 neighbouring channels, and words and escapes go to them in lane order.
#pragma once

#include "layers.cuh"

namespace jahp::cuda {

enum Status { kSound, kTooShort, kTooManyEscapes, kLowState, kWordsEnd, kEscapesEnd, kNeedlessEscape, kBeyond, kBadEnd, kEscapesLeft, kBytesLeft };

constexpr std::uint32_t kLeastState = 1u << 16;
constexpr std::int32_t kMostSymbol = 32767;

JAHP_DEVICE std::uint32_t byte_word(const std::uint8_t* p) { return p[0] | static_cast<std::uint32_t>(p[1]) << 8; }

struct Coder {
    const DeviceModel& model;
    const std::uint8_t* blob;
    const Job& job;
    int lane;
    std::uint32_t state[2] = {kLeastState, kLeastState};
    std::int64_t word = 0, words = 0, escape = 0, escapes = 0;  // read so far, and how many there are
    const std::uint8_t *word_bytes = nullptr, *escape_bytes = nullptr;
    std::int64_t symbols = 0;  // decoded so far
    std::int32_t code = kSound;
    std::int64_t detail = 0;

    JAHP_DEVICE Coder(const DeviceModel& m, const std::uint8_t* b, const Job& j, int l) : model(m), blob(b), job(j), lane(l) {}

    // The same error in all lanes: that of the first lane which has one. True if there is any.
    JAHP_DEVICE bool agree(std::int32_t own, std::int64_t own_detail) {
        const std::uint32_t bad = ballot(kAllLanes, own != kSound);
        if (bad == 0) return false;
        const int first = first_bit(bad);
        code = shuffle(kAllLanes, own, first);
        detail = shuffle(kAllLanes, static_cast<std::int32_t>(own_detail), first);
        return true;
    }

    JAHP_DEVICE void start(std::int64_t all_symbols) {
        const std::int64_t states = 4 * job.lanes, bytes = job.payload_bytes;
        if (bytes < 4 + states) {
            code = kTooShort;
            return;
        }
        const std::uint8_t* p = job.payload_dev;
        escapes = byte_word(p) | static_cast<std::int64_t>(byte_word(p + 2)) << 16;
        if (escapes > all_symbols || escapes > (bytes - 4 - states) / 2) {
            code = kTooManyEscapes;
            return;
        }
        escape_bytes = p + 4;
        const std::uint8_t* state_bytes = escape_bytes + 2 * escapes;
        word_bytes = state_bytes + states;
        words = (p + bytes - word_bytes) / 2;
        for (int half = 0; half < 2; ++half) {
            const int own = lane + 32 * half;
            const std::uint8_t* s = state_bytes + 4 * own;
            const std::uint32_t x = own < job.lanes ? byte_word(s) | byte_word(s + 2) << 16 : kLeastState;
            state[half] = x;
            if (agree(x < kLeastState ? kLowState : kSound, own)) return;
        }
    }

    // Channels 0 .. channels - 1 of one position. row_of(c, mean) gives the table row, or -1 for a symbol that is not coded; take(c, value)
    // keeps the value. `plain`: without means (z).
    template <class RowOf, class Take>
    JAHP_DEVICE void position(int channels, bool plain, const RowOf& row_of, const Take& take) {
        const int width = job.lanes < 32 ? job.lanes : 32;
        const std::uint32_t before = (1u << lane) - 1;
        const bool form_b = !plain && model.form_b != 0;
        const int bits = plain ? 0 : model.mean_bits;
        const std::int32_t most = form_b ? kMostSymbol << bits : kMostSymbol;
        const auto* rows = reinterpret_cast<const TableRow*>(blob + model.table_rows);
        const auto* all_starts = reinterpret_cast<const std::uint16_t*>(blob + model.table_starts);
        std::int32_t next_mean = 0, next_row = -1;
        TableRow next_table{0, 0, 0};
        const auto fetch = [&](int c) {  // a round ahead: these loads are the longest part of a round, and depend on nothing in it
            if (lane >= width || c >= channels) return;
            next_row = row_of(c, next_mean);
            if (next_row >= 0) next_table = rows[next_row];
        };
        fetch(lane);
        for (int base = 0; base < channels; base += width) {
            const int c = base + lane;
            const bool active = lane < width && c < channels, upper = job.lanes == 64 && base / 32 % 2 == 1;
            const std::int32_t mean = next_mean, row = next_row;
            const TableRow table = next_table;
            fetch(c + width);
            const bool coded = active && row >= 0;
            std::uint32_t x = upper ? state[1] : state[0];
            std::int32_t k = 0, own = kSound;
            if (coded) {
                const std::uint16_t* starts = all_starts + table.starts;
                const std::uint32_t slot = x & ((1u << model.prob_bits) - 1);
                std::int32_t high = table.size + 1;
                while (high - k > 1) {  // starts(k) <= slot < starts(high)
                    const std::int32_t middle = (k + high) / 2;
                    const bool right = starts[middle] <= slot;
                    k = right ? middle : k;
                    high = right ? high : middle;
                }
                const std::uint32_t start = starts[k], end = k == table.size ? 1u << model.prob_bits : starts[k + 1];
                x = (end - start) * (x >> model.prob_bits) + slot - start;
            }
            const bool needs = coded && x < kLeastState, escaped = coded && k == table.size;
            const std::uint32_t needing = ballot(kAllLanes, needs), escaping = ballot(kAllLanes, escaped);
            if (needs) {
                const std::int64_t at = word + popcount(needing & before);
                if (at < words)
                    x = x << 16 | byte_word(word_bytes + 2 * at);
                else
                    own = kWordsEnd;
            }
            word += popcount(needing);
            std::int32_t value = 0;
            const std::int32_t shift = form_b ? 0 : mean >> bits;
            if (escaped && own == kSound) {
                const std::int64_t at = escape + popcount(escaping & before);
                if (at < escapes) {
                    value = static_cast<std::int16_t>(byte_word(escape_bytes + 2 * at));
                    const std::int32_t entry = value - shift - table.low;
                    own = value < -kMostSymbol ? kBeyond : entry >= 0 && entry < table.size ? kNeedlessEscape : kSound;
                } else {
                    own = kEscapesEnd;
                }
            } else if (coded) {
                value = table.low + k + shift;
            } else if (active) {
                value = form_b ? mean : (mean + (1 << bits >> 1)) >> bits;
            }
            escape += popcount(escaping);
            if (coded && own == kSound && (value > kMostSymbol || value < -kMostSymbol)) own = kBeyond;
            if (form_b && coded && own == kSound) value = value * (1 << bits) + mean;
            if (active && own == kSound && (value > most || value < -most)) own = kBeyond;
            if (agree(own, symbols + c)) return;
            if (upper)
                state[1] = x;
            else
                state[0] = x;
            if (active) take(c, value);
        }
        symbols += channels;
    }

    JAHP_DEVICE void finish() {
        for (int half = 0; half < 2; ++half)
            if (agree(state[half] != kLeastState ? kBadEnd : kSound, lane + 32 * half)) return;
        if (escape != escapes) {
            code = kEscapesLeft;
            return;
        }
        const std::uint8_t *left = word_bytes + 2 * word, *end = job.payload_dev + job.payload_bytes;
        if (left == end) return;
        bool bad = job.payload_bytes != job.min_bytes;
        for (const std::uint8_t* p = left + lane; p < end && !bad; p += 32) bad = *p != 0;
        agree(bad ? kBytesLeft : kSound, 0);
    }
};

}  // namespace jahp::cuda
