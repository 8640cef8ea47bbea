// SPDX-License-Identifier: Apache-2.0
#include "core/range_coder.hpp"

#include <algorithm>

#include "core/range_coder_reference.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Symbols = std::vector<CodedSymbol>;

struct Tables {
    Tables(Random& random, int bits, int rows) : t(random, bits, rows), cdf(bits, t.low, t.size, t.starts) {}
    RandomTables t;
    CdfTables cdf;
};

Symbols random_symbols(Random& random, const CdfTables& cdf, std::size_t count, int lanes, int rare) {
    Symbols out;
    for (std::size_t i = 0; i < count; ++i) {
        const auto row = static_cast<std::int32_t>(random(0, cdf.rows() - 1));
        const auto shift = static_cast<std::int32_t>(random(-300, 300));
        const CdfTables::Row& r = cdf.row(row);
        std::int64_t value = r.low + shift + random(0, r.size - 1);
        if (random(1, rare) == 1) value = random(-kMaxSymbol, kMaxSymbol);
        out.push_back({static_cast<int>(random(0, lanes - 1)), row, static_cast<std::int32_t>(value), shift});
    }
    return out;
}

Bytes encode(const CdfTables& cdf, int lanes, const Symbols& symbols, std::size_t min_bytes = 0) {
    RangeEncoder encoder(cdf);
    for (const CodedSymbol& s : symbols) encoder.put(s.lane, s.row, s.value, s.shift);
    return encoder.finish(lanes, min_bytes);
}

void decode(const CdfTables& cdf, int lanes, const Bytes& payload, Symbols& symbols, std::size_t min_bytes = 0) {
    RangeDecoder decoder(cdf, lanes, payload, symbols.size());
    for (CodedSymbol& s : symbols) s.value = decoder.get(s.lane, s.row, s.shift);
    decoder.finish(min_bytes);
}

bool same(const Symbols& a, const Symbols& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const CodedSymbol& x, const CodedSymbol& y) { return x.value == y.value; });
}

Symbols blank(Symbols symbols) {
    for (CodedSymbol& s : symbols) s.value = -99999;
    return symbols;
}

}  // namespace

TEST(round_trip_and_oracle) {
    for (const int bits : {15, 16})
        for (int lanes = 1; lanes <= kMaxLanes; lanes *= 2)
            for (const std::size_t count :
                 {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{63}, std::size_t{900}})
                for (const int rare : {1, 20, 1000}) {
                    Random random(static_cast<std::uint32_t>(bits * lanes + rare) + static_cast<std::uint32_t>(count));
                    const Tables tables(random, bits, 9);
                    const Symbols symbols = random_symbols(random, tables.cdf, count, lanes, rare);
                    const Bytes payload = encode(tables.cdf, lanes, symbols);
                    CHECK(payload == range_encode_reference(tables.cdf, lanes, symbols, 0));
                    Symbols back = blank(symbols), ref = back;
                    decode(tables.cdf, lanes, payload, back);
                    range_decode_reference(tables.cdf, lanes, payload, ref, 0);
                    CHECK(same(back, symbols));
                    CHECK(same(ref, symbols));
                }
}

TEST(empty_stream_is_its_states) {
    Random random(1);
    const Tables tables(random, 15, 1);
    CHECK(encode(tables.cdf, 1, {}) == (Bytes{0, 0, 0, 0, 0, 0, 1, 0}));
    CHECK_EQ(encode(tables.cdf, 64, {}).size(), 4u + 4u * 64u);
}

TEST(limits_of_symbols) {
    Random random(2);
    const Tables tables(random, 16, 1);
    for (const std::int32_t value : {kMaxSymbol, -kMaxSymbol}) {
        Symbols symbols(3, CodedSymbol{0, 0, value, 0});
        const Bytes payload = encode(tables.cdf, 1, symbols);
        Symbols back = blank(symbols);
        decode(tables.cdf, 1, payload, back);
        CHECK(same(back, symbols));
    }
    RangeEncoder encoder(tables.cdf);
    CHECK_FAULT(usage, "beyond 32767", encoder.put(0, 0, 32768));
    CHECK_FAULT(usage, "beyond 32767", encoder.put(0, 0, -32768));
    for (const int lanes : {0, -1, 3, 65, 128}) CHECK_FAULT(usage, "lanes must be", check_lanes(lanes));
}

TEST(damaged_payloads) {
    Random random(3);
    const Tables tables(random, 15, 6);
    const Symbols symbols = random_symbols(random, tables.cdf, 200, 4, 100);
    const Bytes good = encode(tables.cdf, 4, symbols);
    const auto decoded = [&](const Bytes& payload, std::size_t min_bytes = 0) {
        Symbols back = blank(symbols);
        decode(tables.cdf, 4, payload, back, min_bytes);
        return back;
    };
    for (std::size_t n = 0; n < good.size(); ++n)
        CHECK_FAULT(format, "", decoded(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n))));
    for (const std::size_t extra : {1u, 2u, 3u}) {
        Bytes longer = good;
        longer.resize(good.size() + extra);
        CHECK_FAULT(format, "left over", decoded(longer));
        CHECK(same(decoded(longer, longer.size()), symbols));  // as padding it is allowed
        longer.back() = 1;
        CHECK_FAULT(format, "padding is not zero", decoded(longer, longer.size()));
    }
    Bytes bad = good;
    bad[0] = 0xff, bad[1] = 0xff;
    CHECK_FAULT(format, "more than symbols", decoded(bad));
    bad = good;
    ++bad[0];  // then the states are read two bytes late
    CHECK_FAULT(format, "", decoded(bad));
    // Every flip of one bit: refused by both, or understood alike by both.
    const auto escape_bits = static_cast<std::size_t>(16 *
                                                      (good[0] | good[1] << 8));  // the coder cannot see a change there
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        Symbols fast = blank(symbols), slow = fast;
        bool fast_refused = false, slow_refused = false;
        try {
            decode(tables.cdf, 4, bad, fast);
        } catch (const Error&) {
            fast_refused = true;
        }
        try {
            range_decode_reference(tables.cdf, 4, bad, slow, 0);
        } catch (const Error&) {
            slow_refused = true;
        }
        CHECK_EQ(fast_refused, slow_refused);
        if (!fast_refused) CHECK(same(fast, slow) && !same(fast, symbols));
        refused += fast_refused;
    }
    CHECK(100 * refused >= 98 * (8 * good.size() - escape_bits));
}

TEST(an_escape_of_what_the_table_holds_is_refused) {
    Random random(4);
    const Tables tables(random, 15, 1);
    const Symbols symbols{{0, 0, 20000, 0}};
    Bytes payload = encode(tables.cdf, 1, symbols);
    payload[4] = static_cast<std::uint8_t>(tables.t.low[0]);
    payload[5] = static_cast<std::uint8_t>(tables.t.low[0] >> 8);
    Symbols back = symbols;
    CHECK_FAULT(format, "which its table holds", decode(tables.cdf, 1, payload, back));
    payload[4] = 0, payload[5] = 0x80;
    CHECK_FAULT(format, "-32768 is beyond", decode(tables.cdf, 1, payload, back));
}

TEST(chosen_lanes_cost_at_most_half_a_per_cent) {
    Random random(5);
    const Tables tables(random, 15, 9);
    for (const std::size_t count : {0u, 10u, 500u, 3000u, 30000u}) {
        RangeEncoder encoder(tables.cdf);
        for (const CodedSymbol& s : random_symbols(random, tables.cdf, count, 64, 50))
            encoder.put(s.lane, s.row, s.value, s.shift);
        const int lanes = encoder.choose_lanes();
        check_lanes(lanes);
        const std::size_t bytes = encoder.finish(lanes).size();
        CHECK(lanes == 1 || static_cast<std::size_t>(4 * lanes) * 190 <= bytes);
        CHECK(lanes == kMaxLanes || static_cast<std::size_t>(8 * lanes) * 210 >= bytes);
    }
}

}  // namespace jahp::test
