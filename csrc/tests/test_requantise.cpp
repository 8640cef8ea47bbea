// SPDX-License-Identifier: Apache-2.0
#include "simd/requantise.hpp"

#include <limits>

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

struct Sums {
    std::vector<std::int32_t> sums, bias, mul_pos, mul_neg, shift, zero;
    std::int32_t limit;
};

// n outputs, all arrays padded to a multiple of 16. Magnitudes are spread over all bit lengths.
Sums random_case(Random& random, int n, std::int32_t limit) {
    const auto padded = static_cast<std::size_t>((n + 15) / 16 * 16);
    const auto any = [&] {
        const std::int64_t reach = (std::int64_t{1} << random(0, 31)) - 1;
        return static_cast<std::int32_t>(random(-reach, reach) / 2 + (random(0, 7) == 0 ? random(-1, 1) * (1 << 30) : 0));
    };
    Sums c;
    for (std::size_t i = 0; i < padded; ++i) {
        c.sums.push_back(any());
        c.bias.push_back(any() / 4);
        c.mul_pos.push_back(random(0, 5) == 0 ? std::numeric_limits<std::int32_t>::max() : std::abs(any()));
        c.mul_neg.push_back(random(0, 5) == 0 ? 0 : std::abs(any()));
        c.shift.push_back(static_cast<std::int32_t>(random(1, 62)));
        c.zero.push_back(static_cast<std::int32_t>(random(-4095, 4095)));
    }
    c.limit = limit;
    return c;
}

std::int64_t wanted(const Sums& c, std::size_t i) {
    const std::int64_t sum = std::int64_t{c.sums[i]} + c.bias[i];
    const std::int64_t n = sum * (sum < 0 ? c.mul_neg[i] : c.mul_pos[i]) + (std::int64_t{1} << (c.shift[i] - 1));
    const std::int64_t d = std::int64_t{1} << c.shift[i];
    const std::int64_t v = (n >= 0 ? n / d : -((-n + d - 1) / d)) + c.zero[i];
    return v > c.limit ? c.limit : v < -c.limit ? -c.limit : v;
}

template <typename Out>
void compare(const Sums& c, int n, void (*requantise)(const std::int32_t*, const RequantTable&, int, Out*)) {
    const RequantTable table{c.bias.data(), c.mul_pos.data(), c.mul_neg.data(), c.shift.data(), c.zero.data(), c.limit};
    std::vector<Out> out(static_cast<std::size_t>(n + 1), Out{77});
    requantise(c.sums.data(), table, n, out.data());
    CHECK_EQ(out.back(), 77);  // nothing behind the last output is written
    for (int o = 0; o < n; ++o) CHECK_EQ(out[static_cast<std::size_t>(o)], wanted(c, static_cast<std::size_t>(o)));
}

}  // namespace

TEST(every_instruction_set_rounds_alike) {
    Random random(1);
    for (int round = 0; round < 200; ++round)
        for (const int n : {1, 2, 15, 16, 17, 31, 48, 50}) {
            const Sums activations = random_case(random, n, round % 2 == 0 ? 127 : 4095), parameters = random_case(random, n, 1 << 23);
            for (const Isa isa : all_isas()) {
                compare(activations, n, requantise_for(isa).to_i16);
                compare(parameters, n, requantise_for(isa).to_i32);
            }
        }
}

}  // namespace jahp::test
