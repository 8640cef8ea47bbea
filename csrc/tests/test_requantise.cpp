// SPDX-License-Identifier: Apache-2.0
#include "simd/requantise.hpp"

#include <algorithm>
#include <cstdlib>
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
        return static_cast<std::int32_t>(random(-reach, reach) / 2 +
                                         (random(0, 7) == 0 ? random(-1, 1) * (1 << 30) : 0));
    };
    Sums c;
    for (std::size_t i = 0; i < padded; ++i) {
        c.sums.push_back(any() / 2);  // with the bias it stays within 32 bits
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

// Shifts so large that every result, the zero point included, stays below 2^31: what the narrow kernels ask for.
Sums narrowed(Sums c) {
    for (std::size_t i = 0; i < c.sums.size(); ++i)
        for (;; ++c.shift[i]) {
            const std::int64_t sum = std::abs(std::int64_t{c.sums[i]}) + std::abs(c.bias[i]),
                               most = sum * std::max(c.mul_pos[i], c.mul_neg[i]);
            if (((most + (std::int64_t{1} << (c.shift[i] - 1))) >> c.shift[i]) + 4096 < std::int64_t{1} << 31) break;
        }
    return c;
}

// The case's outputs, in as many blocks as it has, at `positions` positions whose sums differ.
template <typename Out>
void compare(const Sums& c, int positions, Requantise::To<Out> requantise) {
    const RequantTable table{c.bias.data(), c.mul_pos.data(), c.mul_neg.data(), c.shift.data(), c.zero.data(), c.limit};
    const std::size_t n = c.sums.size(), sums_stride = n + 3, out_stride = n + 5;
    std::vector<std::int32_t> sums(sums_stride * static_cast<std::size_t>(positions));
    for (std::size_t p = 0; p < static_cast<std::size_t>(positions); ++p)
        for (std::size_t o = 0; o < n; ++o) sums[p * sums_stride + o] = p % 2 == 0 ? c.sums[o] : c.sums[o] / 3;
    for (const int first : {0, static_cast<int>(n) - 16}) {
        const auto from = static_cast<std::size_t>(first);
        std::vector<Out> out(out_stride * static_cast<std::size_t>(positions), Out{77});
        requantise(sums.data() + from, static_cast<std::ptrdiff_t>(sums_stride), positions, table, first,
                   static_cast<int>(n - from) / 16, out.data(), static_cast<std::ptrdiff_t>(out_stride));
        for (std::size_t p = 0; p < static_cast<std::size_t>(positions); ++p)
            for (std::size_t o = 0; o < out_stride; ++o) {
                Sums at = c;
                if (o < n - from) at.sums[from + o] = sums[p * sums_stride + from + o];
                CHECK_EQ(out[p * out_stride + o],
                         o < n - from ? wanted(at, from + o) : 77);  // nothing beyond is written
            }
    }
}

}  // namespace

TEST(every_instruction_set_rounds_alike) {
    Random random(1);
    for (int round = 0; round < 200; ++round)
        for (const int n : {16, 32, 80}) {
            const Sums activations = random_case(random, n, round % 2 == 0 ? 127 : 4095),
                       parameters = random_case(random, n, 1 << 23);
            Sums bytes = activations;
            bytes.limit = 127;
            for (const Isa isa : available_isas())
                for (const bool narrow : {false, true}) {
                    const Requantise requantise = requantise_for(isa, narrow);
                    const auto fit = [&](const Sums& c) { return narrow ? narrowed(c) : c; };
                    compare(fit(bytes), round % 4, requantise.to_i8);
                    compare(fit(activations), 1 + round % 3, requantise.to_i16);
                    compare(fit(parameters), 1 + round % 3, requantise.to_i32);
                }
        }
}

}  // namespace jahp::test
