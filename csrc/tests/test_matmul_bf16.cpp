// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_bf16.hpp"

#include <bit>
#include <cmath>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"

namespace jahp::test {
namespace {

// Any 32 bits: subnormal numbers, infinities and NaN among them; or ordinary numbers.
float any_float(Random& random, bool ordinary) {
    if (ordinary) return random_float(random, 8);
    return std::bit_cast<float>(static_cast<std::uint32_t>(random(0, 0xffffffff)));
}

bool same(float a, float b) {
    return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

}  // namespace

TEST(rounding_to_nearest_even) {
    const auto narrow = [](float x) { return bf16_pair(x, 0) & 0xffff; };
    CHECK_EQ(narrow(1.0f), 0x3f80u);
    CHECK_EQ(narrow(std::bit_cast<float>(0x3f808000u)), 0x3f80u);  // half way, to even
    CHECK_EQ(narrow(std::bit_cast<float>(0x3f818000u)), 0x3f82u);
    CHECK_EQ(narrow(std::bit_cast<float>(0x3f808001u)), 0x3f81u);
    CHECK_EQ(narrow(std::bit_cast<float>(0x7f7fffffu)), 0x7f80u);  // beyond the largest: infinity
    CHECK_EQ(narrow(std::bit_cast<float>(0x807fffffu)), 0x8000u);  // subnormal
    CHECK(std::isnan(std::bit_cast<float>(narrow(std::bit_cast<float>(0x7f800001u)) << 16)));
    CHECK_EQ(bf16_pair(1.0f, -2.0f), 0xc0003f80u);
}

TEST(sums_by_hand) {
    // The high halves first: 2^24 + 1 rounds to 2^24 before the second product is added, and again.
    const std::uint32_t a = bf16_pair(1, 1), b = bf16_pair(1, 1);
    AlignedVector<std::uint32_t> weight(kMatmulBlock, b);
    std::vector<float> start(kMatmulBlock, 0x1p24f), c(kMatmulBlock);
    matmul_bf16_scalar({&a, 1, 1, 1, weight.data(), 1, start.data(), c.data(), kMatmulBlock, false});
    for (const float sum : c) CHECK_EQ(sum, 0x1p24f);
    matmul_bf16_scalar({&a, 1, 1, 1, weight.data(), 1, nullptr, c.data(), kMatmulBlock, false});
    for (const float sum : c) CHECK_EQ(sum, 2.0f);
    matmul_bf16_scalar({&a, 1, 1, 1, weight.data(), 1, nullptr, c.data(), kMatmulBlock, true});
    for (const float sum : c) CHECK_EQ(sum, 4.0f);
}

TEST(this_cpus_kernel_gives_the_oracles_bits) {
    if (!cpu_has_bf16()) {
        std::cout << "  skipped: this CPU lacks AVX512-BF16\n";
        return;
    }
    const MatmulBf16Kernel fast = matmul_bf16();
    Random random(1);
    for (const bool ordinary : {true, false})
        for (const int blocks : {1, 2, 3, 4, 5, 6, 9})
            for (int positions = 0; positions <= 29; positions += positions < 8 ? 1 : 3) {
                const int pairs = 1 + positions % 4 * 5, stride = pairs + 3, outputs = blocks * kMatmulBlock;
                std::vector<std::uint32_t> a;
                AlignedVector<std::uint32_t> b;
                const auto pair = [&] {
                    return static_cast<std::uint32_t>(std::bit_cast<std::uint32_t>(any_float(random, ordinary)) &
                                                      0xffff0000u) |
                           std::bit_cast<std::uint32_t>(any_float(random, ordinary)) >> 16;
                };
                for (int i = 0; i < positions * stride + pairs; ++i) a.push_back(pair());
                for (int i = 0; i < pairs * outputs; ++i) b.push_back(pair());
                std::vector<float> start, c, want;
                for (int i = 0; i < outputs; ++i) start.push_back(any_float(random, ordinary));
                for (int i = 0; i < positions * (outputs + 3); ++i) c.push_back(any_float(random, ordinary));
                want = c;
                const bool add = positions % 3 == 1;
                const MatmulBf16 m{a.data(),
                                   stride,
                                   positions,
                                   pairs,
                                   b.data(),
                                   blocks,
                                   positions % 2 == 0 ? start.data() : nullptr,
                                   c.data(),
                                   outputs + 3,
                                   add};
                MatmulBf16 oracle = m;
                oracle.c = want.data();
                fast.run(m);
                matmul_bf16_scalar(oracle);
                bool equal = true;
                for (std::size_t i = 0; i < c.size(); ++i) equal = equal && same(c[i], want[i]);
                CHECK(equal);
            }
    std::vector<float> x(1 << 16);
    for (float& v : x) v = any_float(random, false);
    std::vector<std::uint32_t> got(x.size() / 2), want(x.size() / 2);
    fast.narrow(x.data(), static_cast<std::ptrdiff_t>(x.size()), got.data());
    narrow_bf16_scalar(x.data(), static_cast<std::ptrdiff_t>(x.size()), want.data());
    CHECK(got == want);
}

}  // namespace jahp::test
