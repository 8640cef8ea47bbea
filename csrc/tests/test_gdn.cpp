// SPDX-License-Identifier: Apache-2.0
#include "simd/gdn.hpp"

#include <cmath>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {

TEST(every_instruction_set_rounds_as_the_standard_says) {
    Random random(1);
    for (const Isa isa : all_isas())
        for (std::size_t count = 0; count < 70; ++count) {
            const auto x = random_floats(random, count + 1, 1000);
            auto norm = random_floats(random, count + 1, 1000);
            for (float& v : norm) v = std::abs(v) + 1e-6f;
            std::vector<float> squares(count + 1, -1), divided = x, multiplied = x;
            const GdnKernel kernel = gdn_for(isa);
            kernel.squares(x.data(), static_cast<std::ptrdiff_t>(count), squares.data());
            kernel.divide(divided.data(), static_cast<std::ptrdiff_t>(count), norm.data());
            kernel.multiply(multiplied.data(), static_cast<std::ptrdiff_t>(count), norm.data());
            for (std::size_t i = 0; i < count; ++i) {
                CHECK_EQ(squares[i], x[i] * x[i]);
                CHECK_EQ(divided[i], x[i] / std::sqrt(norm[i]));
                CHECK_EQ(multiplied[i], x[i] * std::sqrt(norm[i]));
            }
            CHECK_EQ(squares[count], -1.0f);
            CHECK_EQ(divided[count], x[count]);
            CHECK_EQ(multiplied[count], x[count]);
            std::vector<float> kept = x, roots(count + 1, -1);
            kernel.multiply_keep(kept.data(), static_cast<std::ptrdiff_t>(count), norm.data(), roots.data());
            CHECK(kept == multiplied);
            for (std::size_t i = 0; i < count; ++i) CHECK_EQ(roots[i], std::sqrt(norm[i]));
            CHECK_EQ(roots[count], -1.0f);
        }
}

TEST(local_gains) {
    Random random(2);
    for (const Isa isa : all_isas())
        for (const std::size_t channels : {16u, 48u, 208u})
            for (const std::size_t positions : {0u, 1u, 7u}) {
                const auto steady = random_floats(random, channels, 1), varying = random_floats(random, channels, 1);
                const auto x = random_floats(random, positions * channels + 1, 10),
                           roots = random_floats(random, positions * channels + 1, 3);
                std::vector<float> got = x, squares(positions + 1, -1);
                gdn_for(isa).local(got.data(), static_cast<std::ptrdiff_t>(positions),
                                   static_cast<std::ptrdiff_t>(channels), steady.data(), varying.data(), roots.data(),
                                   squares.data());
                for (std::size_t p = 0; p < positions; ++p) {
                    double sum = 0;
                    for (std::size_t c = 0; c < channels; ++c) {
                        const std::size_t i = p * channels + c;
                        const double factor = double{steady[c]} + double{varying[c]} * roots[i];
                        CHECK(std::abs(got[i] - x[i] * factor) <= 1e-5);
                        sum += factor * factor;
                    }
                    CHECK(std::abs(squares[p] - sum) <= 1e-5 * sum);
                }
                CHECK_EQ(got.back(), x.back());
                CHECK_EQ(squares.back(), -1.0f);
            }
}

}  // namespace jahp::test
