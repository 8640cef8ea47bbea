// SPDX-License-Identifier: Apache-2.0
#include "core/range_coder_reference.hpp"

#include <deque>

#include "core/range_coder.hpp"

namespace jahp {
namespace {

std::uint64_t frequency(const CdfTables& tables, const CdfTables::Row& row, std::int32_t k) {
    return tables.end(row, k) - row.starts[k];
}

// Reads whole little-endian numbers from the front of a payload.
class Reader {
public:
    explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    std::size_t left() const { return bytes_.size() - at_; }
    std::uint64_t take(std::size_t bytes, const char* what) {
        if (left() < bytes) throw Error(Fault::format, what);
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) value += static_cast<std::uint64_t>(bytes_[at_ + i]) << (8 * i);
        at_ += bytes;
        return value;
    }

private:
    std::span<const std::uint8_t> bytes_;
    std::size_t at_ = 0;
};

}  // namespace

std::vector<std::uint8_t> range_encode_reference(const CdfTables& tables, int lanes,
                                                 std::span<const CodedSymbol> symbols, std::size_t min_bytes) {
    check_lanes(lanes);
    const int p = tables.prob_bits();
    std::vector<std::uint64_t> state(static_cast<std::size_t>(lanes), kLaneStart);
    std::deque<std::uint64_t> words, escapes;
    for (auto s = symbols.rbegin(); s != symbols.rend(); ++s) {
        if (s->value > kMaxSymbol || s->value < -kMaxSymbol) throw Error(Fault::usage, "symbol is beyond 32767");
        const CdfTables::Row& row = tables.row(s->row);
        std::int64_t k = std::int64_t{s->value} - s->shift - row.low;
        if (k < 0 || k >= row.size) {
            k = row.size;
            escapes.push_front(static_cast<std::uint64_t>(s->value) & 0xffff);
        }
        const std::uint64_t freq = frequency(tables, row, static_cast<std::int32_t>(k));
        std::uint64_t& x = state[static_cast<std::size_t>(s->lane)];
        if ((x / freq << p) + x % freq + row.starts[k] > 0xffffffffu) {  // would leave 32 bits: make room first
            words.push_front(x & 0xffff);
            x >>= 16;
        }
        x = (x / freq << p) + x % freq + row.starts[k];
    }
    std::vector<std::uint8_t> out;
    const auto write = [&out](std::uint64_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    };
    write(escapes.size(), 4);
    for (const auto e : escapes) write(e, 2);
    for (const auto x : state) write(x, 4);
    for (const auto w : words) write(w, 2);
    while (out.size() < min_bytes) out.push_back(0);
    return out;
}

void range_decode_reference(const CdfTables& tables, int lanes, std::span<const std::uint8_t> payload,
                            std::span<CodedSymbol> symbols, std::size_t min_bytes) {
    check_lanes(lanes);
    const int p = tables.prob_bits();
    Reader reader(payload);
    const std::uint64_t escape_count = reader.take(4, "payload cannot hold its escape count");
    if (escape_count > symbols.size()) throw Error(Fault::format, "payload claims more escapes than symbols");
    std::deque<std::int32_t> escapes;
    for (std::uint64_t i = 0; i < escape_count; ++i)
        escapes.push_back(static_cast<std::int16_t>(reader.take(2, "payload is too short for its escapes")));
    std::vector<std::uint64_t> state;
    for (int lane = 0; lane < lanes; ++lane) {
        state.push_back(reader.take(4, "payload cannot hold its lanes"));
        if (state.back() < kLaneStart) throw Error(Fault::format, "lane state is below 2^16");
    }
    for (CodedSymbol& s : symbols) {
        const CdfTables::Row& row = tables.row(s.row);
        std::uint64_t& x = state[static_cast<std::size_t>(s.lane)];
        const std::uint64_t slot = x % (std::uint64_t{1} << p);
        std::int32_t k = 0;
        while (tables.end(row, k) <= slot) ++k;
        x = frequency(tables, row, k) * (x >> p) + slot - row.starts[k];
        if (x < kLaneStart) x = x << 16 | reader.take(2, "payload ends before its last symbol");
        if (k < row.size) {
            s.value = row.low + k + s.shift;
        } else {
            if (escapes.empty()) throw Error(Fault::format, "payload has fewer escapes than its symbols need");
            s.value = escapes.front();
            escapes.pop_front();
            const std::int64_t v = std::int64_t{s.value} - s.shift - row.low;
            if (v >= 0 && v < row.size) throw Error(Fault::format, "escape of a value which its table holds");
        }
        if (s.value > kMaxSymbol || s.value < -kMaxSymbol) throw Error(Fault::format, "symbol is beyond 32767");
    }
    for (const auto x : state)
        if (x != kLaneStart) throw Error(Fault::format, "lane does not end at 2^16");
    if (!escapes.empty()) throw Error(Fault::format, "payload has more escapes than its symbols need");
    if (reader.left() != 0 && payload.size() != min_bytes) throw Error(Fault::format, "bytes of payload are left over");
    while (reader.left() != 0)
        if (reader.take(1, "") != 0) throw Error(Fault::format, "payload padding is not zero");
}

}  // namespace jahp
