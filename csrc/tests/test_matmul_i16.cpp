// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_i16.hpp"

#include "core/aligned.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr std::int32_t kUntouched = 12345;

std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }

struct Matrices {
    // extreme: -32768 and 32767 alone, so that pairs of products and sums wrap.
    Matrices(Random& random, const MatmulI16Kernel& kernel, int positions, int blocks, int segments, int pairs,
             bool extreme) {
        const int depth = 2 * pairs, stride = depth + static_cast<int>(random(0, 3)), outputs = blocks * kMatmulBlock,
                  all = segments * depth, c_stride = outputs + 3;
        const auto many = [&](int count) {
            auto values = random.many<std::int16_t>(at(count), -32768, 32767);
            for (std::int16_t& v : values)
                if (extreme) v = v % 3 == 0 ? 32767 : -32768;
            return values;
        };
        std::vector<std::vector<std::int16_t>> in;
        std::vector<const std::int16_t*> a;
        for (int s = 0; s < segments; ++s) in.push_back(many(positions * stride + depth));
        for (const auto& values : in) a.push_back(values.data());
        const auto weight = many(all * outputs);
        AlignedVector<std::int16_t> packed(weight.size());
        for (int k = 0; k < all; ++k)
            for (int o = 0; o < outputs; ++o)
                packed[kernel.pack_index(blocks, all, k, o)] = weight[at(k * outputs + o)];
        const auto start = random.many<std::int32_t>(at(outputs), -(std::int64_t{1} << 31), 0x7fffffff);
        for (const bool with_start : {false, true}) {
            std::vector<std::int32_t> c(at(positions * c_stride + 1), kUntouched);
            kernel.run({a.data(), stride, positions, segments, pairs, packed.data(), blocks,
                        with_start ? start.data() : nullptr, c.data(), c_stride});
            for (int p = 0; p < positions; ++p)
                for (int o = 0; o < c_stride; ++o) {
                    std::uint64_t sum = with_start && o < outputs ? static_cast<std::uint64_t>(start[at(o)]) : 0;
                    for (int s = 0; s < segments && o < outputs; ++s)
                        for (int k = 0; k < depth; ++k)
                            sum += static_cast<std::uint64_t>(in[at(s)][at(p * stride + k)] *
                                                              std::int64_t{weight[at((s * depth + k) * outputs + o)]});
                    CHECK_EQ(c[at(p * c_stride + o)], o < outputs ? static_cast<std::int32_t>(sum) : kUntouched);
                }
            CHECK_EQ(c.back(), kUntouched);
        }
    }
};

}  // namespace

TEST(every_kernel_against_the_textbook) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const int blocks : {1, 2, 3, 4, 5})
            for (int positions = 0; positions <= 29; ++positions)
                for (const int segments : {1, 4})
                    for (const int pairs : {positions % 4 * 5 + 1, positions % 3 * 4 + 4})
                        Matrices(random, matmul_i16_for(isa, pairs), positions, blocks, segments, pairs,
                                 positions % 2 == 1);
}

TEST(packing_uses_each_place_once) {
    for (const Isa isa : available_isas())
        for (const int depth : {6, 16})
            for (int blocks = 1; blocks <= 7; ++blocks) {
                std::vector<int> used(at(blocks * kMatmulBlock * depth));
                for (int k = 0; k < depth; ++k)
                    for (int o = 0; o < blocks * kMatmulBlock; ++o)
                        ++used.at(matmul_i16_for(isa, depth / 2).pack_index(blocks, depth, k, o));
                for (const int n : used) CHECK_EQ(n, 1);
            }
}

}  // namespace jahp::test
