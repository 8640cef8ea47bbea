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
        }
}

}  // namespace jahp::test
