// SPDX-License-Identifier: Apache-2.0
// Input: u8 log2 of the lanes | u8 tables | u8 symbols | u8 seed of their rows | u8 padding | payload.
// RangeDecoder and its oracle must give the same symbols or both refuse; what they accept must be the one encoding of
// it.
#include <algorithm>
#include <span>

#include "core/range_coder.hpp"
#include "core/range_coder_reference.hpp"
#include "fuzz/fuzz.hpp"
#include "tests/random_model.hpp"

namespace {

using jahp::CodedSymbol;
using jahp::test::Random;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeader = 5;
constexpr int kTables = 4, kRows = 8;

struct Tables {
    explicit Tables(std::uint32_t seed)
        : random(seed), t(random, bits(seed), kRows), cdf(bits(seed), t.low, t.size, t.starts) {}
    static int bits(std::uint32_t seed) { return 15 + static_cast<int>(seed % 2); }
    Random random;
    jahp::test::RandomTables t;
    jahp::CdfTables cdf;
};

const jahp::CdfTables& tables(std::uint8_t choice) {
    static const Tables all[kTables] = {Tables(0), Tables(1), Tables(2), Tables(3)};
    return all[choice % kTables].cdf;
}

constexpr std::size_t kMostSymbols = 96;

// Drawn once a seed: a generator's start takes longer than all the rest.
std::vector<CodedSymbol> drawn(std::uint32_t seed) {
    Random random(seed);
    std::vector<CodedSymbol> symbols(kMostSymbols);
    for (CodedSymbol& s : symbols)
        s = {static_cast<int>(random(0, jahp::kMaxLanes - 1)), static_cast<std::int32_t>(random(0, kRows - 1)), 0,
             static_cast<std::int32_t>(random(-40000, 40000) >> random(0, 16))};
    return symbols;
}

std::vector<CodedSymbol> rows_of(std::span<const std::uint8_t> header) {
    static const std::vector<std::vector<CodedSymbol>> all = [] {
        std::vector<std::vector<CodedSymbol>> out;
        for (std::uint32_t seed = 0; seed < 256; ++seed) out.push_back(drawn(seed));
        return out;
    }();
    const std::vector<CodedSymbol>& from = all[header[3]];
    std::vector<CodedSymbol> symbols(from.begin(),
                                     from.begin() + static_cast<std::ptrdiff_t>(header[2] % (kMostSymbols + 1)));
    for (CodedSymbol& s : symbols) s.lane &= (1 << header[0] % 7) - 1;
    return symbols;
}

template <typename F>
bool accepted(const F& decode) {
    try {
        decode();
    } catch (const jahp::Error& e) {
        fuzz_require(e.fault() == jahp::Fault::format, "a damaged payload raised something else than a format error");
        return false;
    }
    return true;
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    Random random(n + 1000);
    Bytes header{static_cast<std::uint8_t>(n % 7), static_cast<std::uint8_t>(n / 7),
                 static_cast<std::uint8_t>(n * 3 / 2), static_cast<std::uint8_t>(n), 0};
    const jahp::CdfTables& cdf = tables(header[1]);
    std::vector<CodedSymbol> symbols = rows_of(header);
    for (CodedSymbol& s : symbols) {
        const jahp::CdfTables::Row& row = cdf.row(s.row);
        const std::int64_t value = random(0, 9) == 0 ? random(-32767, 32767)
                                                     : row.low + random(0, row.size - 1) + s.shift;
        s.value = static_cast<std::int32_t>(std::clamp<std::int64_t>(value, -32767, 32767));
    }
    const Bytes payload = jahp::range_encode_reference(cdf, 1 << header[0] % 7, symbols, 0);
    header.insert(header.end(), payload.begin(), payload.end());
    return header;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader) return 0;
    const std::span<const std::uint8_t> input(data, size);
    // On the heap and of the exact length, so that a sanitizer sees the first byte read beyond it.
    const Bytes payload(input.begin() + kHeader, input.end());
    const jahp::CdfTables& cdf = tables(input[1]);
    const int lanes = 1 << input[0] % 7;
    const std::size_t min_bytes = input[4] % 2 == 0 ? 0 : payload.size();
    std::vector<CodedSymbol> fast = rows_of(input.first(kHeader)), slow = fast;
    const bool fast_accepts = accepted([&] {
        jahp::RangeDecoder decoder(cdf, lanes, payload, fast.size());
        for (CodedSymbol& s : fast) s.value = decoder.get(s.lane, s.row, s.shift);
        decoder.finish(min_bytes);
    });
    const bool slow_accepts = accepted([&] { jahp::range_decode_reference(cdf, lanes, payload, slow, min_bytes); });
    fuzz_require(fast_accepts == slow_accepts, "decoder and oracle disagree whether the payload is sound");
    if (!fast_accepts) return 0;
    jahp::RangeEncoder encoder(cdf);
    for (std::size_t i = 0; i < fast.size(); ++i) {
        fuzz_require(fast[i].value == slow[i].value, "decoder and oracle disagree on a symbol");
        encoder.put(fast[i].lane, fast[i].row, fast[i].value, fast[i].shift);
    }
    fuzz_require(encoder.finish(lanes, min_bytes) == payload, "an accepted payload is not what the encoder writes");
    return 0;
}
