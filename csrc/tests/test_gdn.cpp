// SPDX-License-Identifier: Apache-2.0
#include "simd/gdn.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

// Where a root is halfway between two integers, where a float rounds, where the exponent changes, and anywhere.
std::vector<std::int32_t> norms(Random& random, std::size_t count) {
    std::vector<std::int32_t> out{1, 2, 3, 4, 5, 6, 7, 0x7fffffff, 0x7ffffffe, 0x7fffff80, 0x1fffffff, 0x20000000};
    while (out.size() < count) {
        const std::int64_t r = random(1, 46340), kind = random(0, 4), off = random(-1, 1);
        const std::int64_t n = kind == 0   ? r * r + r + off
                               : kind == 1 ? r * r - r + off
                               : kind == 2 ? (std::int64_t{1} << random(0, 30)) + off
                               : kind == 3 ? random(1, 0x7fffffff)
                                           : random(1, 1 << random(1, 30));
        out.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(n, 1, 0x7fffffff)));
    }
    out.resize(count);
    return out;
}

}  // namespace

TEST(squares) {
    for (const Isa isa : available_isas())
        for (const int count : {0, 16, 48, 32768}) {
            std::vector<std::int16_t> x, squares(static_cast<std::size_t>(count + 1), 77);
            for (int i = 0; i < count; ++i) x.push_back(static_cast<std::int16_t>(i - 16383 - i / 32767));
            gdn_for(isa).squares(x.data(), count, squares.data());
            CHECK_EQ(squares.back(), 77);
            for (std::size_t i = 0; i < x.size(); ++i)
                CHECK_EQ(squares[i], textbook_shifted(std::int64_t{x[i]} * x[i], 12) - 32768);
        }
}

TEST(roots_and_quotients) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const std::size_t channels : {16u, 64u, 208u})
            for (const std::size_t positions : {0u, 1u, 40u}) {
                const std::size_t count = positions * channels;
                const auto norm = norms(random, count);
                const auto x = random.many<std::int16_t>(count + 1, -16383, 16383);
                const auto up = random.many<std::int32_t>(channels, 1, 31),
                           down = random.many<std::int32_t>(channels, 16, 31);
                std::vector<std::int16_t> divided = x, multiplied = x, kept = x;
                std::vector<std::uint16_t> roots(count + 1, 77);
                const GdnKernel kernel = gdn_for(isa);
                const auto p = static_cast<std::ptrdiff_t>(positions), c = static_cast<std::ptrdiff_t>(channels);
                kernel.divide(divided.data(), p, c, norm.data(), down.data());
                kernel.multiply(multiplied.data(), p, c, norm.data(), up.data());
                kernel.multiply_keep(kept.data(), p, c, norm.data(), up.data(), roots.data());
                for (std::size_t i = 0; i < count; ++i) {
                    const std::int64_t root = textbook_root(norm[i]);
                    CHECK_EQ(roots[i], root);
                    CHECK_EQ(multiplied[i], textbook_clamped(textbook_shifted(x[i] * root, up[i % channels]), 8191));
                    std::int64_t n = norm[i];
                    int e = 0;
                    for (; n < 1 << 29; n *= 4) ++e;
                    const std::int64_t r = textbook_root(n), m = ((std::int64_t{1} << 31) + r) / (2 * r);
                    CHECK_EQ(divided[i], textbook_clamped(textbook_shifted(x[i] * m, down[i % channels] - e), 8191));
                }
                CHECK(kept == multiplied);
                CHECK_EQ(divided[count], x[count]);
                CHECK_EQ(multiplied[count], x[count]);
                CHECK_EQ(roots[count], 77);
            }
}

TEST(local_gains) {
    Random random(2);
    for (const Isa isa : available_isas())
        for (const std::size_t channels : {16u, 48u, 208u, 4096u})
            for (const std::size_t positions : {0u, 1u, 7u})
                for (const bool extreme : {false, true}) {
                    const std::int64_t least = extreme ? 32767 : 0;
                    const auto steady = random.many<std::int32_t>(channels, least, 32767),
                               varying = random.many<std::int32_t>(channels, least, 32767),
                               varying_shift = random.many<std::int32_t>(channels, 0, extreme ? 0 : 31),
                               shift = random.many<std::int32_t>(channels, 1, 31);
                    const auto x = random.many<std::int16_t>(positions * channels + 1, -16383, 16383);
                    const auto roots = random.many<std::uint16_t>(positions * channels + 1, extreme ? 46341 : 1, 46341);
                    std::vector<std::int16_t> got = x;
                    std::vector<std::uint32_t> squares(positions + 1, 77);
                    gdn_for(isa).local(got.data(), static_cast<std::ptrdiff_t>(positions),
                                       static_cast<std::ptrdiff_t>(channels),
                                       {steady.data(), varying.data(), varying_shift.data(), shift.data()},
                                       roots.data(), squares.data());
                    for (std::size_t p = 0; p < positions; ++p) {
                        std::int64_t sum = 0;
                        for (std::size_t c = 0; c < channels; ++c) {
                            const std::size_t i = p * channels + c;
                            const std::int64_t factor = std::min<std::int64_t>(
                                steady[c] + (std::int64_t{varying[c]} * roots[i] >> varying_shift[c]), 32767);
                            CHECK_EQ(got[i], textbook_clamped(textbook_shifted(x[i] * factor, shift[c]), 8191));
                            sum += (factor >> 5) * (factor >> 5);
                        }
                        CHECK_EQ(std::int64_t{squares[p]}, sum);
                    }
                    CHECK_EQ(got.back(), x.back());
                    CHECK_EQ(squares.back(), 77u);
                }
}

}  // namespace jahp::test
