// SPDX-License-Identifier: Apache-2.0
#include "simd/context_input.hpp"

#include <algorithm>

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

template <typename Out, typename Function>
void check(Random& random, Function function, int channels, std::int32_t limit, bool narrow) {
    const auto n = static_cast<std::size_t>(channels), room = (n + 15) / 16 * 16;
    const std::int32_t reach = narrow ? 32767 : 32767 << 8;
    std::vector<std::int32_t> y, mul = random.many<std::int32_t>(n, -32768, 32768),
                                 add = random.many<std::int32_t>(n, -1000000, 1000000);
    for (std::size_t c = 0; c < n; ++c)
        y.push_back(static_cast<std::int32_t>(random(0, 2) == 0 ? 0 : random(-reach, reach) >> random(0, 20)));
    for (std::size_t c = 0; c < n; c += 3) add[c] = 0;  // with many y of 0: some groups come out as zero
    const std::vector<std::int32_t> shift = random.many<std::int32_t>(n, 0, 31);
    std::vector<Out> out(room + 1);
    out[room] = 77;
    std::vector<std::uint64_t> nonzero(room * sizeof(Out) / 4 / 64 + 2, 99);
    const std::int32_t sum = function(y.data(), ContextTable{mul.data(), add.data(), shift.data(), limit, channels},
                                      out.data(), nonzero.data());
    std::int32_t want_sum = 0;
    std::vector<std::uint64_t> want(nonzero.size(), 0);
    for (std::size_t c = 0; c < n; ++c) {
        const std::int64_t v = std::clamp<std::int64_t>((std::int64_t{y[c]} * mul[c] + add[c]) >> shift[c], -limit,
                                                        limit);
        CHECK_EQ(std::int64_t{out[c]}, v);
        want_sum += static_cast<std::int32_t>(v);
        const std::size_t group = c * sizeof(Out) / 4;
        if (v != 0) want[group / 64] |= std::uint64_t{1} << group % 64;
    }
    for (std::size_t c = n; c < room; ++c) CHECK_EQ(static_cast<int>(out[c]), 0);
    CHECK_EQ(static_cast<int>(out[room]), 77);
    CHECK_EQ(sum, want_sum);
    const std::size_t words = (n * sizeof(Out) + 255) / 256;
    for (std::size_t w = 0; w < words; ++w) CHECK_EQ(nonzero[w], want[w]);
    CHECK_EQ(nonzero[words], 99u);
}

}  // namespace

TEST(every_version_against_the_definition) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const bool narrow : {false, true})
            for (const int channels : {1, 3, 4, 15, 16, 17, 63, 64, 65, 192, 320})
                for (int round = 0; round < 20; ++round) {
                    check<std::int8_t>(random, context_input_for(isa, narrow).to_i8, channels, 127, narrow);
                    check<std::int16_t>(random, context_input_for(isa, narrow).to_i16, channels, 4095, narrow);
                }
}

}  // namespace jahp::test
