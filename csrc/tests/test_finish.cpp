// SPDX-License-Identifier: Apache-2.0
#include "simd/finish.hpp"

#include <limits>

#include "tests/check.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

template <typename Out>
void every_shape(Finish::To<Out> finish, std::int32_t low, std::int32_t high, bool leaky, Random& random) {
    for (const int channels : {16, 48, 208})
        for (const int positions : {0, 1, 5}) {
            const std::size_t all = static_cast<std::size_t>(channels), stride = all + 3,
                              out_stride = all + 16 * static_cast<std::size_t>(positions % 2);
            const auto sums = random.many<std::int32_t>(stride * static_cast<std::size_t>(positions) + 1,
                                                        -(std::int64_t{1} << 31), 0x7fffffff);
            const auto bias = random.many<std::int32_t>(all, -(std::int64_t{1} << 31), 0x7fffffff),
                       by = random.many<std::int32_t>(all, 0, 29);
            std::vector<std::int32_t> offset, shift;
            for (std::size_t o = 0; o < all; ++o) {
                const std::uint32_t half = (1u << by[o]) >> 1;
                offset.push_back(static_cast<std::int32_t>(4 * (static_cast<std::uint32_t>(bias[o]) + half)));
                shift.push_back(by[o] + 2);
            }
            std::vector<Out> out(out_stride * static_cast<std::size_t>(positions) + 1, Out{77});
            finish(sums.data(), static_cast<std::ptrdiff_t>(stride), positions, channels,
                   {offset.data(), shift.data(), low, high, leaky}, out.data(),
                   static_cast<std::ptrdiff_t>(out_stride));
            for (std::size_t i = 0; i < out.size(); ++i) {
                const std::size_t p = i / out_stride, o = i % out_stride;
                std::int64_t want = 77;
                if (o < all && p < static_cast<std::size_t>(positions)) {
                    const std::int64_t sum = std::int64_t{sums[p * stride + o]} + bias[o] + ((1 << by[o]) >> 1);
                    const std::int64_t lowest = std::int64_t{1} << 29, modulus = std::int64_t{1} << 30;
                    want = ((sum + lowest) % modulus + modulus) % modulus - lowest;
                    want = std::clamp<std::int64_t>(want >> by[o], low, high);
                    if (leaky && want < 0) want = textbook_shifted(want * 2621, 18);
                }
                CHECK_EQ(std::int64_t{out[i]}, want);
            }
        }
}

}  // namespace

TEST(every_instruction_set_against_the_textbook) {
    Random random(1);
    for (const Isa isa : available_isas()) {
        const Finish finish = finish_for(isa);
        for (int round = 0; round < 20; ++round) {
            every_shape(finish.to_i16, -8191, 8191, false, random);
            every_shape(finish.to_i16, -16383, 16383, false, random);
            every_shape(finish.to_i16, 0, 8191, false, random);
            every_shape(finish.to_i16, kLeakyLow, 8191, true, random);
            every_shape(finish.to_u8, 0, 255, false, random);
            every_shape(finish.to_i32, std::numeric_limits<std::int32_t>::min(),
                        std::numeric_limits<std::int32_t>::max(), false, random);
        }
    }
}

}  // namespace jahp::test
