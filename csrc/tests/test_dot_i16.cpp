// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i16.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

using I16 = std::vector<std::int16_t>;

constexpr std::int32_t kUntouched = 0x5A5A5A5A;

// Runs every instruction set on the same matrices, one element off any alignment, against sums in 64 bits.
void compare(const I16& in, int in_stride, int positions, const I16& weight, int outputs, int depth) {
    const auto count = static_cast<std::size_t>(positions * outputs);
    std::vector<std::int64_t> want(count);
    for (int p = 0; p < positions; ++p)
        for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < depth; ++k)
                want[static_cast<std::size_t>(p * outputs + o)] += std::int64_t{in[static_cast<std::size_t>(1 + p * in_stride + k)]} *
                                                                   weight[static_cast<std::size_t>(1 + o * depth + k)];
    for (const Isa isa : all_isas()) {
        std::vector<std::int32_t> sums(count + 2, kUntouched);
        dot_i16_for(isa)(in.data() + 1, in_stride, positions, weight.data() + 1, outputs, depth, sums.data() + 1);
        CHECK_EQ(sums.front(), kUntouched);
        CHECK_EQ(sums.back(), kUntouched);
        for (std::size_t i = 0; i < count; ++i) CHECK_EQ(sums[i + 1], want[i]);
    }
}

template <typename Fill>
void every_shape(const Fill& fill) {
    for (const int depth : {32, 64, 96, 224})
        for (const int outputs : {1, 2, 3, 4, 5, 7, 8, 13})
            for (const int positions : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17}) {
                const int in_stride = depth + positions % 3;
                I16 in(static_cast<std::size_t>(1 + std::max(positions, 1) * in_stride));
                I16 weight(static_cast<std::size_t>(1 + outputs * depth));
                fill(in, weight, depth);
                compare(in, in_stride, positions, weight, outputs, depth);
            }
}

}  // namespace

TEST(random_values) {
    Random random(1);
    every_shape([&](I16& in, I16& weight, int) {
        in = random.many<std::int16_t>(in.size(), -4095, 4095);
        weight = random.many<std::int16_t>(weight.size(), -127, 127);
    });
}

TEST(extreme_values) {
    Random random(2);
    every_shape([&](I16& in, I16& weight, int depth) {
        // The largest weight for which depth products with |input| = 32767 stay below 2^31.
        const auto most = static_cast<std::int16_t>(((std::int64_t{1} << 31) - 1) / (std::int64_t{32767} * depth));
        const bool one_sign = random(0, 1) == 0;  // then the sums reach the limit itself
        for (std::int16_t& v : in) v = one_sign || random(0, 1) == 0 ? 32767 : -32767;
        for (std::int16_t& v : weight) v = one_sign || random(0, 1) == 0 ? most : static_cast<std::int16_t>(-most);
    });
}

TEST(one_hot_values_find_every_index) {
    constexpr int depth = 64, outputs = 6, positions = 5;
    for (int k = 0; k < depth; ++k) {
        I16 in(1 + positions * depth), weight(1 + outputs * depth);
        for (int p = 0; p < positions; ++p) in[static_cast<std::size_t>(1 + p * depth + k)] = static_cast<std::int16_t>(p + 2);
        for (int o = 0; o < outputs; ++o)
            for (int j = 0; j < depth; ++j) weight[static_cast<std::size_t>(1 + o * depth + j)] = static_cast<std::int16_t>(100 * o + j);
        compare(in, depth, positions, weight, outputs, depth);
    }
}

TEST(isa_names) {
    for (const Isa isa : all_isas()) CHECK(parse_isa(isa_name(isa)) == isa);
    CHECK(parse_isa("") == best_isa());
    CHECK(parse_isa(nullptr) == best_isa());
    CHECK(dot_i16_for(Isa::scalar) == dot_i16_scalar);
    CHECK_FAULT(usage, "is none of", parse_isa("sse9"));
    for (const Isa isa : {Isa::neon, Isa::avx2, Isa::avx512vnni})
        if (!cpu_has(isa)) CHECK_FAULT(usage, "this CPU lacks it", parse_isa(isa_name(isa)));
}

}  // namespace jahp::test
