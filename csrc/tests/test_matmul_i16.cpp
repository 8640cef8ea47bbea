// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_f32.hpp"

#include <cmath>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr float kUntouched = 12345;

struct Matrices {
    Matrices(Random& random, const MatmulF32Kernel& with, int positions_, int blocks_, int segments_, int depth_)
        : kernel(with), positions(positions_), blocks(blocks_), segments(segments_), depth(depth_),
          stride(depth_ + static_cast<int>(random(0, 3))) {
        for (int s = 0; s < segments; ++s)
            in.push_back(random_floats(random, static_cast<std::size_t>(positions * stride + depth), 1));
        for (const auto& values : in) a.push_back(values.data());
        const int all = segments * depth, outputs = blocks * kMatmulBlock;
        weight = random_floats(random, static_cast<std::size_t>(all * outputs), 1);
        packed.resize(weight.size(), kUntouched);
        for (int k = 0; k < all; ++k)
            for (int o = 0; o < outputs; ++o)
                packed[kernel.pack_index(blocks, all, k, o)] = weight[static_cast<std::size_t>(k * outputs + o)];
        start = random_floats(random, static_cast<std::size_t>(outputs), 1);
    }

    std::vector<float> run(int first, int count, bool with_start, bool add) const {
        const int outputs = blocks * kMatmulBlock, c_stride = outputs + 3;
        std::vector<float> c(static_cast<std::size_t>(count * c_stride), kUntouched);
        for (int p = 0; p < count && add; ++p)
            for (int o = 0; o < outputs; ++o)
                c[static_cast<std::size_t>(p * c_stride +
                                           o)] = start[static_cast<std::size_t>((first + p + o) % outputs)];
        std::vector<const float*> from;
        for (const float* s : a) from.push_back(s + first * stride);
        kernel.run({from.data(), stride, count, segments, depth, packed.data(), blocks,
                    with_start ? start.data() : nullptr, c.data(), c_stride, add});
        return c;
    }

    void check(bool with_start, bool add) const {
        const int outputs = blocks * kMatmulBlock, c_stride = outputs + 3;
        const std::vector<float> all = run(0, positions, with_start, add);
        for (int p = 0; p < positions; ++p) {
            for (int o = 0; o < outputs; ++o) {
                double sum = add          ? start[static_cast<std::size_t>((p + o) % outputs)]
                             : with_start ? start[static_cast<std::size_t>(o)]
                                          : 0;
                for (int s = 0; s < segments; ++s)
                    for (int k = 0; k < depth; ++k)
                        sum += double{in[static_cast<std::size_t>(s)][static_cast<std::size_t>(p * stride + k)]} *
                               weight[static_cast<std::size_t>((s * depth + k) * outputs + o)];
                CHECK(std::abs(sum - all[static_cast<std::size_t>(p * c_stride + o)]) <= 1e-6 * (1 + segments * depth));
            }
            for (int o = outputs; o < c_stride; ++o)
                CHECK_EQ(all[static_cast<std::size_t>(p * c_stride + o)], kUntouched);
            // The same sums in the same order, whatever is computed beside them.
            const std::vector<float> one = run(p, 1, with_start, add);
            CHECK(std::equal(one.begin(), one.end(), all.begin() + p * c_stride));
        }
    }

    MatmulF32Kernel kernel;
    int positions, blocks, segments, depth, stride;
    std::vector<std::vector<float>> in;
    std::vector<const float*> a;
    std::vector<float> weight, start;
    AlignedVector<float> packed;
};

}  // namespace

TEST(every_kernel_against_the_textbook) {
    Random random(1);
    for (const Isa isa : all_isas())
        for (const int blocks : {1, 2, 3, 4, 5, 6, 9})
            for (int positions = 0; positions <= 29; positions += positions < 8 ? 1 : 3)
                for (const int segments : {1, 5}) {
                    const Matrices c(random, matmul_f32_for(isa), positions, blocks, segments, 1 + positions % 4 * 5);
                    c.check(positions % 2 == 0, positions % 3 == 1);
                }
}

TEST(packing_uses_each_place_once) {
    for (const Isa isa : all_isas())
        for (int blocks = 1; blocks <= 14; ++blocks) {
            std::vector<int> used(static_cast<std::size_t>(blocks * kMatmulBlock * 3));
            for (int k = 0; k < 3; ++k)
                for (int o = 0; o < blocks * kMatmulBlock; ++o)
                    ++used.at(matmul_f32_for(isa).pack_index(blocks, 3, k, o));
            for (const int n : used) CHECK_EQ(n, 1);
        }
}

}  // namespace jahp::test
