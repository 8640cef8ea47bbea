// SPDX-License-Identifier: Apache-2.0
// Runs of symbols, in every version, against the oracle of the range coder.
#include "simd/range_decode.hpp"

#include <optional>

#include "core/range_coder.hpp"
#include "core/range_coder_reference.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

// Positions of `channels` symbols: what is coded, and the Symbols that say how. Some are not coded, some are escapes.
struct Message {
    Message(Random& random, const CdfTables& tables, int lanes, int positions, int channels_, bool shifted_)
        : channels(channels_), shifted(shifted_), mean_bits(static_cast<int>(random(0, 6))) {
        int rank = 0;
        for (int i = 0; i < positions * channels; ++i) {
            rank = i % channels == 0 ? 0 : rank;
            const auto row = static_cast<std::int32_t>(random(0, tables.rows() - 1));
            const CdfTables::Row& r = tables.row(row);
            const auto mean = static_cast<std::int32_t>(random(-500, 500));
            const std::int32_t shift = shifted ? mean >> mean_bits : 0;
            if (random(0, 9) == 0) {
                symbols.push_back({-1, mean});
                values.push_back(0);
                continue;
            }
            const std::int64_t value = random(0, 30) == 0 ? random(-kMaxSymbol, kMaxSymbol)
                                                          : r.low + random(0, r.size - 1) + shift;
            symbols.push_back({row, mean});
            values.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(value, -kMaxSymbol, kMaxSymbol)));
            coded.push_back({rank++ % lanes, row, values.back(), shift});
        }
    }
    int channels;
    bool shifted;
    int mean_bits;
    std::vector<Symbol> symbols;
    std::vector<std::int32_t> values;
    std::vector<CodedSymbol> coded;
};

// The values, or nothing if the payload was refused.
std::optional<std::vector<std::int32_t>> decode(const CdfTables& tables, const Message& m, int lanes,
                                                const Bytes& payload, Isa isa) {
    std::vector<std::int32_t> out(m.symbols.size(), 77);
    try {
        RangeDecoder decoder(tables, lanes, payload, m.symbols.size(), isa);
        for (std::size_t i = 0; i < out.size(); i += static_cast<std::size_t>(m.channels))
            decoder.run(m.symbols.data() + i, m.channels, m.mean_bits, m.shifted, out.data() + i);
        decoder.finish();
    } catch (const Error& e) {
        CHECK(e.fault() == Fault::format);
        return std::nullopt;
    }
    return out;
}

// As decode(), by the oracle.
std::optional<std::vector<std::int32_t>> decode_ref(const CdfTables& tables, const Message& m, int lanes,
                                                    const Bytes& payload) {
    std::vector<CodedSymbol> coded = m.coded;
    try {
        range_decode_reference(tables, lanes, payload, coded, 0);
    } catch (const Error& e) {
        CHECK(e.fault() == Fault::format);
        return std::nullopt;
    }
    std::vector<std::int32_t> out;
    auto next = coded.begin();
    for (const Symbol& s : m.symbols) out.push_back(s.row < 0 ? 0 : (next++)->value);
    return out;
}

// Rows of any length, some of many lines.
struct Tables : RandomTables {
    Tables(Random& random, int bits) : RandomTables(random, bits, 12) {
        for (const std::int32_t wide : {29, 30, 31, 61, 62, 63, 300, (1 << bits) - 2}) {
            low.push_back(-wide / 2);
            size.push_back(wide);
            for (std::int64_t k = 0; k <= wide; ++k)
                starts.push_back(static_cast<std::uint16_t>((k << bits) / (wide + 1)));
        }
    }
};

}  // namespace

TEST(whole_messages_and_damaged_ones) {
    for (const int bits : {15, 16}) {
        Random random(static_cast<std::uint32_t>(bits));
        const Tables t(random, bits);
        const CdfTables tables(bits, t.low, t.size, t.starts);
        for (int lanes = 1; lanes <= kMaxLanes; lanes *= 2)
            for (const int channels : {1, 7, 64, 100})
                for (const bool shifted : {false, true}) {
                    const Message m(random, tables, lanes, 12, channels, shifted);
                    const Bytes payload = range_encode_reference(tables, lanes, m.coded, 0);
                    for (const Isa isa : available_isas()) CHECK(decode(tables, m, lanes, payload, isa) == m.values);
                    for (int damage = 0; damage < 12; ++damage) {
                        Bytes bad = payload;
                        if (damage % 3 == 0)
                            bad.resize(static_cast<std::size_t>(random(0, static_cast<std::int64_t>(bad.size()))));
                        else if (damage % 3 == 1)
                            bad[static_cast<std::size_t>(random(0, static_cast<std::int64_t>(bad.size()) -
                                                                       1))] ^= static_cast<std::uint8_t>(random(1,
                                                                                                                255));
                        else
                            bad.insert(bad.end(), static_cast<std::size_t>(random(1, 3)), 0x5A);
                        const auto want = decode_ref(tables, m, lanes, bad);
                        for (const Isa isa : available_isas()) CHECK(decode(tables, m, lanes, bad, isa) == want);
                    }
                }
    }
}

TEST(values_beyond_the_limit_are_refused) {
    const std::vector<std::int32_t> low{32760}, size{20};
    std::vector<std::uint16_t> starts;
    for (int k = 0; k <= 20; ++k) starts.push_back(static_cast<std::uint16_t>(k * 1500));
    const CdfTables tables(15, low, size, starts);
    for (const int by : {0, 1}) {
        RangeEncoder encoder(tables);
        encoder.put(0, 0, 32767 - by, -by);  // entry 7 of the row: with a shift of 1 it is 32768
        const Bytes payload = encoder.finish(1);
        for (const Isa isa : available_isas()) {
            std::int32_t out = 0;
            const Symbol one{0, 1};
            RangeDecoder decoder(tables, 1, payload, 1, isa);
            CHECK_FAULT(format, "beyond 32767", decoder.run(&one, 1, 0, true, &out));
        }
    }
}

}  // namespace jahp::test
