// SPDX-License-Identifier: Apache-2.0
#include "core/range_coder.hpp"

#include <algorithm>
#include <bit>
#include <string>

namespace jahp {
namespace {

std::uint32_t read_u32(const std::uint8_t* p) {
    return p[0] | static_cast<std::uint32_t>(p[1]) << 8 | static_cast<std::uint32_t>(p[2]) << 16 |
           static_cast<std::uint32_t>(p[3]) << 24;
}

void append(std::vector<std::uint8_t>& out, std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

[[noreturn]] void value_out_of_range(std::int32_t value) {
    throw Error(Fault::format, "symbol " + std::to_string(value) + " is beyond 32767");
}

bool in_support(const CdfTables::Row& row, std::int64_t v) {
    return v >= row.low && v < std::int64_t{row.low} + row.size;
}

}  // namespace

void check_lanes(int lanes) {
    if (lanes < 1 || lanes > kMaxLanes || !std::has_single_bit(static_cast<unsigned>(lanes)))
        throw Error(Fault::usage, "lanes must be 1, 2, 4, 8, 16, 32 or 64, not " + std::to_string(lanes));
}

void RangeEncoder::put(int rank, std::int32_t row, std::int32_t value, std::int32_t shift) {
    if (value > kMaxSymbol || value < -kMaxSymbol)
        throw Error(Fault::usage, "symbol " + std::to_string(value) + " is beyond 32767");
    const CdfTables::Row& r = tables_.row(row);
    const std::int64_t v = std::int64_t{value} - shift;
    std::int32_t k = r.size;
    if (in_support(r, v))
        k = static_cast<std::int32_t>(v - r.low);
    else
        escapes_.push_back(static_cast<std::uint16_t>(value));
    entries_.push_back({r.starts[k], static_cast<std::uint16_t>(tables_.end(r, k) - r.starts[k])});
    lane_of_.push_back(static_cast<std::uint8_t>(rank & (kMaxLanes - 1)));
}

int RangeEncoder::choose_lanes() const {
    // In 1/64 bits: log2 f is floor(log2 f) plus the mantissa, linear in between (at most 0.09 bits too little).
    const std::int64_t whole = 64 * tables_.prob_bits();
    std::int64_t cost = static_cast<std::int64_t>(escapes_.size()) * 16 * 64;
    for (const Entry& e : entries_) {
        const int log2 = std::bit_width(e.freq) - 1;
        cost += whole - 64 * log2 - ((std::int64_t{e.freq} << 6 >> log2) - 64);
    }
    const std::int64_t bytes = cost / (64 * 8);
    int lanes = 1;
    while (lanes < kMaxLanes && std::int64_t{lanes} * 2 * 4 * 200 <= bytes) lanes *= 2;
    return lanes;
}

std::vector<std::uint8_t> RangeEncoder::finish(int lanes, std::size_t min_bytes) {
    check_lanes(lanes);
    const int prob_bits = tables_.prob_bits();
    std::uint32_t state[kMaxLanes];
    std::fill_n(state, lanes, kLaneStart);
    std::vector<std::uint16_t> words;  // last to be read first
    for (std::size_t i = entries_.size(); i-- > 0;) {
        const std::uint32_t freq = entries_[i].freq;
        std::uint32_t& x = state[lane_of_[i] & (lanes - 1)];
        if (x >= freq << (32 - prob_bits)) {
            words.push_back(static_cast<std::uint16_t>(x));
            x >>= 16;
        }
        x = (x / freq << prob_bits) + x % freq + entries_[i].start;
    }
    std::vector<std::uint8_t> out;
    out.reserve(std::max(min_bytes, 4 + 2 * escapes_.size() + 4 * static_cast<std::size_t>(lanes) + 2 * words.size()));
    append(out, static_cast<std::uint32_t>(escapes_.size()), 4);
    for (const std::uint16_t e : escapes_) append(out, e, 2);
    for (int lane = 0; lane < lanes; ++lane) append(out, state[lane], 4);
    for (std::size_t i = words.size(); i-- > 0;) append(out, words[i], 2);
    out.resize(std::max(out.size(), min_bytes));
    entries_.clear();
    lane_of_.clear();
    escapes_.clear();
    return out;
}

RangeDecoder::RangeDecoder(const CdfTables& tables, int lanes, std::span<const std::uint8_t> payload,
                           std::uint64_t max_symbols, Isa isa)
    : tables_(tables), lined_(tables.lined()), run_(range_decode_for(isa)), prob_bits_(tables.prob_bits()),
      lanes_(lanes), bytes_(payload.size()) {
    check_lanes(lanes);
    const std::size_t states = 4 * static_cast<std::size_t>(lanes);
    if (payload.size() < 4 + states)
        throw Error(Fault::format, "payload of " + std::to_string(payload.size()) + " bytes cannot hold " +
                                       std::to_string(lanes) + " lanes");
    const std::uint32_t escapes = read_u32(payload.data());
    if (escapes > max_symbols)
        throw Error(Fault::format, "payload claims " + std::to_string(escapes) + " escapes, more than symbols");
    if (escapes > (payload.size() - 4 - states) / 2)
        throw Error(Fault::format, "payload is too short for its " + std::to_string(escapes) + " escapes");
    escape_ = payload.data() + 4;
    escape_end_ = escape_ + 2 * static_cast<std::size_t>(escapes);
    for (int lane = 0; lane < lanes; ++lane) {
        state_.lane[lane] = read_u32(escape_end_ + 4 * lane);
        if (state_.lane[lane] < kLaneStart)
            throw Error(Fault::format, "state of lane " + std::to_string(lane) + " is below 2^16");
    }
    state_.next = escape_end_ + states;
    state_.end = state_.next +
                 ((payload.data() + payload.size() - state_.next) & ~std::ptrdiff_t{1});  // leaves out an odd last byte
}

std::uint32_t RangeDecoder::next_word() {
    if (state_.next == state_.end) throw Error(Fault::format, "payload ends before its last symbol");
    const std::uint32_t word = state_.next[0] | static_cast<std::uint32_t>(state_.next[1]) << 8;
    state_.next += 2;
    return word;
}

std::int32_t RangeDecoder::get(int lane, std::int32_t row, std::int32_t shift) {
    const CdfTables::Row& r = tables_.row(row);
    std::uint32_t x = state_.lane[lane];
    const std::uint32_t slot = x & ((1u << prob_bits_) - 1);
    const auto k = static_cast<std::int32_t>(std::upper_bound(r.starts, r.starts + r.size + 1, slot) - r.starts) - 1;
    const std::uint32_t start = r.starts[k];
    x = (tables_.end(r, k) - start) * (x >> prob_bits_) + slot - start;
    if (x < kLaneStart) x = x << 16 | next_word();
    state_.lane[lane] = x;
    if (k == r.size) return get_escape(r, shift);
    const std::int32_t value = r.low + k + shift;
    if (value > kMaxSymbol || value < -kMaxSymbol) value_out_of_range(value);
    return value;
}

void RangeDecoder::run(const Symbol* symbols, int count, int mean_bits, bool shifted, std::int32_t* out) {
    std::int32_t least = 0;
    for (int i = 0; i < count; ++i) least = std::min(least, symbols[i].row);
    if (least >= 0) return run_coded(symbols, count, mean_bits, shifted, out);
    coded_.resize(static_cast<std::size_t>(count));
    values_.resize(coded_.size());
    int coded = 0;
    for (int i = 0; i < count; ++i) {
        coded_[static_cast<std::size_t>(coded)] = symbols[i];
        coded += symbols[i].row >= 0 ? 1 : 0;
    }
    run_coded(coded_.data(), coded, mean_bits, shifted, values_.data());
    const std::int32_t* next = values_.data();
    for (int i = 0; i < count; ++i) out[i] = symbols[i].row >= 0 ? *next++ : 0;
}

void RangeDecoder::run_coded(const Symbol* symbols, int count, int mean_bits, bool shifted, std::int32_t* out) {
    const RangeRun run{symbols, count, lanes_ - 1, mean_bits, shifted ? -1 : 0, out};
    bool beyond = false;
    for (int i = 0; (i = run_(lined_, state_, run, i, beyond)) < count; ++i)
        out[i] = get(i & (lanes_ - 1), symbols[i].row, shifted ? symbols[i].mean >> mean_bits : 0);
    if (!beyond) return;
    const auto end = out + count;
    value_out_of_range(*std::find_if(out, end, [](std::int32_t v) { return v > kMaxSymbol || v < -kMaxSymbol; }));
}

std::int32_t RangeDecoder::get_escape(const CdfTables::Row& row, std::int32_t shift) {
    if (escape_ == escape_end_) throw Error(Fault::format, "payload has fewer escapes than its symbols need");
    const auto value = static_cast<std::int16_t>(escape_[0] | escape_[1] << 8);
    escape_ += 2;
    if (value < -kMaxSymbol) value_out_of_range(value);
    if (in_support(row, std::int64_t{value} - shift))
        throw Error(Fault::format, "escape of " + std::to_string(value) + ", which its table holds");
    return value;
}

void RangeDecoder::finish(std::size_t min_bytes) const {
    for (int lane = 0; lane < lanes_; ++lane)
        if (state_.lane[lane] != kLaneStart)
            throw Error(Fault::format, "lane " + std::to_string(lane) + " does not end at 2^16");
    if (escape_ != escape_end_) throw Error(Fault::format, "payload has more escapes than its symbols need");
    const std::size_t left = static_cast<std::size_t>(state_.end - state_.next) + (bytes_ & 1);
    if (left == 0) return;
    if (bytes_ != min_bytes) throw Error(Fault::format, std::to_string(left) + " bytes of payload are left over");
    if (std::any_of(state_.next, state_.next + left, [](std::uint8_t b) { return b != 0; }))
        throw Error(Fault::format, "payload padding is not zero");
}

}  // namespace jahp
