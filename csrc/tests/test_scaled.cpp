// SPDX-License-Identifier: Apache-2.0
#include "core/scaled.hpp"

#include "tests/check.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

template <typename Out>
void check(Random& random, std::int32_t limit) {
    const std::size_t channels = 37;
    const auto x = random.many<std::int32_t>(11 * channels, -(std::int64_t{1} << 31), 0x7fffffff);
    const auto mul = random.many<std::int32_t>(channels, 0, 65535);
    const auto shift = random.many<std::uint8_t>(channels, 1, 62);
    std::vector<Out> out(x.size());
    scaled<Out>(x, mul, shift, limit, out);
    for (std::size_t i = 0; i < x.size(); ++i)
        CHECK_EQ(
            std::int64_t{out[i]},
            textbook_clamped(textbook_shifted(std::int64_t{x[i]} * mul[i % channels], shift[i % channels]), limit));
}

}  // namespace

TEST(by_the_definition) {
    Random random(1);
    for (int round = 0; round < 50; ++round) {
        for (const std::int32_t limit : {1, 8191, 32767}) check<std::int16_t>(random, limit);
        for (const std::int32_t limit : {1, 8191, 32768, 0x7fffffff}) check<std::int32_t>(random, limit);
    }
}

TEST(what_is_refused) {
    const std::vector<std::int32_t> x(6), mul(3, 1);
    std::vector<std::uint8_t> shift(3, 1);
    std::vector<std::int16_t> out(6);
    scaled<std::int16_t>(x, mul, shift, 1, out);
    CHECK_FAULT(usage, "differ in their channels", scaled<std::int16_t>(x, {}, {}, 1, out));
    CHECK_FAULT(usage, "differ in their channels", scaled<std::int16_t>(std::span(x).first(5), mul, shift, 1, out));
    for (const std::int32_t limit : {0, -1, 32768})
        CHECK_FAULT(usage, "the limit", scaled<std::int16_t>(x, mul, shift, limit, out));
    for (const int bad : {0, 63}) {
        shift[1] = static_cast<std::uint8_t>(bad);
        CHECK_FAULT(usage, "a shift is not 1 to 62", scaled<std::int16_t>(x, mul, shift, 1, out));
    }
}

}  // namespace jahp::test
