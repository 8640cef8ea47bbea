// SPDX-License-Identifier: Apache-2.0
#include "simd/peak.hpp"

#include <chrono>

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {

TEST(the_probe_does_what_it_counts) {
    for (const Isa isa : available_isas())
        for (const std::int32_t limit : {127, 4095}) {
            const auto products = [&](std::int64_t rounds) { return peak_products(isa, limit, rounds); };
            const std::int64_t one = products(1);
            CHECK(one >= 12);
            CHECK_EQ(products(1000), 1000 * one);
            CHECK_EQ(products(0), 0);
            // A loop that the compiler has removed would end at once: no machine does 100 million million a second.
            const auto start = std::chrono::steady_clock::now();
            const std::int64_t many = products(1 << 20);
            const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            CHECK(static_cast<double>(many) < 1e14 * seconds);
        }
}

}  // namespace jahp::test
