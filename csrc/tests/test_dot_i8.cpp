// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i8.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr std::int32_t kUntouched = 0x5A5A5A5A;

// Every instruction set and the scalar oracle against sums in 64 bits of unpacked matrices, on every shape.
template <typename Fill>
void every_shape(const Fill& fill) {
    for (const int depth : {4, 32, 100, 224})
        for (const int blocks : {1, 2, 3, 4, 5, 9})
            for (int positions = 0; positions <= 26; ++positions) {
                const int outputs = blocks * kDotI8Outputs, stride = outputs + positions % 2 * 16;
                std::vector<std::uint8_t> in(static_cast<std::size_t>(std::max(positions, 1) * depth));
                std::vector<std::int8_t> weight(static_cast<std::size_t>(outputs * depth));
                fill(in, weight);
                std::vector<std::int8_t> packed(weight.size());
                for (int o = 0; o < outputs; ++o)
                    for (int k = 0; k < depth; ++k) packed[dot_i8_offset(o, k, depth)] = weight[static_cast<std::size_t>(o * depth + k)];
                std::vector<DotI8> kernels{dot_i8_scalar};
                for (const Isa isa : all_isas())
                    if (dot_i8_for(isa) != nullptr) kernels.push_back(dot_i8_for(isa));
                for (const DotI8 kernel : kernels) {
                    std::vector<std::int32_t> sums(static_cast<std::size_t>(positions * stride + 1), kUntouched);
                    kernel(in.data(), positions, packed.data(), blocks, depth, sums.data(), stride);
                    CHECK_EQ(sums.back(), kUntouched);
                    for (int p = 0; p < positions; ++p)
                        for (int o = 0; o < stride; ++o) {
                            std::int64_t want = o < outputs ? 0 : kUntouched;
                            for (int k = 0; k < depth && o < outputs; ++k)
                                want += std::int64_t{in[static_cast<std::size_t>(p * depth + k)]} * weight[static_cast<std::size_t>(o * depth + k)];
                            CHECK_EQ(sums[static_cast<std::size_t>(p * stride + o)], want);
                        }
                }
            }
}

}  // namespace

TEST(packing_is_a_permutation) {
    for (const int depth : {4, 36}) {
        std::vector<int> seen(static_cast<std::size_t>(48 * depth));
        for (int o = 0; o < 48; ++o)
            for (int k = 0; k < depth; ++k) ++seen.at(dot_i8_offset(o, k, depth));
        for (const int count : seen) CHECK_EQ(count, 1);
    }
}

TEST(random_bytes) {
    Random random(1);
    every_shape([&](auto& in, auto& weight) {
        in = random.many<std::uint8_t>(in.size(), 0, 255);
        weight = random.many<std::int8_t>(weight.size(), -127, 127);
    });
}

TEST(extreme_bytes) {
    Random random(2);
    every_shape([&](auto& in, auto& weight) {
        for (auto& v : in) v = random(0, 1) == 0 ? 0 : 255;
        for (auto& v : weight) v = random(0, 1) == 0 ? -127 : 127;
    });
}

}  // namespace jahp::test
