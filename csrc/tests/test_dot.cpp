// SPDX-License-Identifier: Apache-2.0
#include "simd/dot.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr std::int32_t kUntouched = 0x5A5A5A5A;

// A matrix product in the kernels' form, and its textbook sums in 64 bits.
template <typename T>
struct Case {
    Case(Random& random, const DotKernel& with, int positions_, int blocks_, int groups_, int listed, bool extreme)
        : kernel(with), positions(positions_), blocks(blocks_), groups(groups_) {
        const std::int64_t limit = sizeof(T) == 1 ? 127 : 4095;
        const auto value = [&](std::int64_t most) {
            return extreme ? (random(0, 1) == 0 ? -most : most) : random(-most, most);
        };
        stride = groups * wide + static_cast<int>(random(0, 5));
        for (int i = 0; i < positions * stride; ++i) in.push_back(static_cast<T>(value(limit)));
        in.resize(in.size() + static_cast<std::size_t>(groups * wide));  // a list may point anywhere inside
        for (int i = 0; i < blocks * groups * 16 * wide; ++i) weight.push_back(static_cast<std::int8_t>(value(127)));
        for (const std::int8_t w : weight) packed.push_back(static_cast<std::uint8_t>(w + (kernel.biased ? 128 : 0)));
        for (int i = 0; i < listed; ++i)
            list.push_back({static_cast<std::int32_t>(random(0, groups * wide - wide)),
                            static_cast<std::int32_t>(random(0, groups - 1))});
        for (int p = 0; p < positions; ++p) start.push_back(static_cast<std::int32_t>(random(-1000, 1000)));
    }

    std::int64_t want(int p, int o) const {
        std::int64_t sum = 0;
        for (const DotGroup& g : list)
            for (int e = 0; e < wide; ++e)
                sum += std::int64_t{in[static_cast<std::size_t>(p * stride + g.input + e)]} *
                       weight[static_cast<std::size_t>(((o / 16 * groups + g.weight) * 16 + o % 16) * wide + e)];
        return sum;
    }

    // What `start` must hold so that biased weights give the sums of unbiased ones.
    std::int32_t offset(int p) const {
        std::int32_t sum = 0;
        for (const DotGroup& g : list)
            for (int e = 0; e < wide; ++e) sum += in[static_cast<std::size_t>(p * stride + g.input + e)];
        return kernel.biased ? -128 * sum : 0;
    }

    void check(bool add, bool with_start) {
        const int outputs = 16 * blocks, sums_stride = outputs + 16 * (positions % 2);
        std::vector<std::int32_t> sums(static_cast<std::size_t>(positions * sums_stride + 1), kUntouched),
            starts = start;
        const bool starting = with_start || kernel.biased;
        for (int p = 0; p < positions; ++p) {
            starts[static_cast<std::size_t>(p)] = (with_start ? start[static_cast<std::size_t>(p)] : 0) + offset(p);
            for (int o = 0; o < outputs && add; ++o) sums[static_cast<std::size_t>(p * sums_stride + o)] = p - o;
        }
        kernel.dot({in.data(), stride, positions, list.data(), static_cast<int>(list.size()), packed.data(),
                    groups * 16 * wide, blocks, starting ? starts.data() : nullptr, sums.data(), sums_stride, add});
        CHECK_EQ(sums.back(), kUntouched);
        for (int p = 0; p < positions; ++p)
            for (int o = 0; o < sums_stride; ++o) {
                const std::int64_t all = want(p, std::min(o, outputs - 1)) +
                                         (with_start ? start[static_cast<std::size_t>(p)] : 0) + (add ? p - o : 0);
                CHECK_EQ(sums[static_cast<std::size_t>(p * sums_stride + o)], o < outputs ? all : kUntouched);
            }
    }

    static constexpr int wide = kDotGroupBytes / static_cast<int>(sizeof(T));
    DotKernel kernel;
    int positions, blocks, groups, stride = 0;
    std::vector<T> in;
    std::vector<std::int8_t> weight;
    std::vector<std::uint8_t> packed;
    std::vector<DotGroup> list;
    std::vector<std::int32_t> start;
};

template <typename T>
void every_shape(const DotKernel& kernel, Random& random) {
    for (int positions = 0; positions <= 26; ++positions)
        for (const int blocks : {1, 2, 3, 4, 5, 9})
            for (const int listed : {0, 1, 7, 24})
                for (const bool extreme : {false, true})
                    Case<T>(random, kernel, positions, blocks, 11, listed, extreme)
                        .check(listed % 2 == 1, positions % 3 == 0);
}

}  // namespace

TEST(every_kernel_against_the_textbook) {
    Random random(1);
    std::vector<DotKernel> kernels{{dot_i8_scalar, true, true, row_sums_scalar},
                                   {dot_i16_scalar, false, false, nullptr}};
    for (const Isa isa : available_isas())
        for (const std::int32_t limit : {127, 4095}) kernels.push_back(dot_kernel_for(isa, limit));
    for (const DotKernel& kernel : kernels) {
        if (kernel.bytes)
            every_shape<std::int8_t>(kernel, random);
        else
            every_shape<std::int16_t>(kernel, random);
    }
}

TEST(sums_of_rows) {
    Random random(2);
    for (const Isa isa : available_isas()) {
        const DotKernel kernel = dot_kernel_for(isa, 127);
        CHECK_EQ(kernel.row_sums != nullptr, kernel.biased);
        if (!kernel.biased) continue;
        for (const int length : {16, 48, 64, 80, 128, 336})
            for (int positions = 0; positions <= 5; ++positions) {
                const int stride = length + static_cast<int>(random(0, 70));
                const auto in = random.many<std::int8_t>(static_cast<std::size_t>(positions * stride + length),
                                                         positions % 2 == 0 ? 127 : -127, 127);
                std::vector<std::int32_t> want(static_cast<std::size_t>(positions)), got = want;
                row_sums_scalar(in.data(), stride, positions, length, want.data());
                kernel.row_sums(in.data(), stride, positions, length, got.data());
                CHECK(got == want);
                for (int p = 0; p < positions; ++p) {
                    std::int32_t sum = 0;
                    for (int i = 0; i < length; ++i) sum += in[static_cast<std::size_t>(p * stride + i)];
                    CHECK_EQ(want[static_cast<std::size_t>(p)], -128 * sum);
                }
            }
    }
}

}  // namespace jahp::test
