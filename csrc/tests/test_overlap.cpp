// SPDX-License-Identifier: Apache-2.0
#include "simd/overlap.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {

TEST(every_instruction_set_against_the_definition) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (int outputs = 1; outputs <= 7; ++outputs)
            for (const int columns : {1, 2, 9})
                for (const int count : {2, 3}) {
                    const int stride = (25 * outputs + 15) / 16 * 16;
                    const auto all = static_cast<std::size_t>((columns + 2) * stride + kOverlapBeyond);
                    std::vector<std::vector<std::int32_t>> products;
                    std::vector<const std::int32_t*> rows;
                    for (int t = 0; t < count; ++t)
                        products.push_back(random.many<std::int32_t>(all, -(std::int64_t{1} << 31), 0x7fffffff));
                    for (int t = 0; t < count; ++t)
                        rows.push_back(products[static_cast<std::size_t>(t)].data() + stride +
                                       5 * outputs * (4 - 2 * t));
                    const auto valid = static_cast<std::size_t>(2 * outputs * columns);
                    std::vector<std::int32_t> sums(valid + kOverlapBeyond + 1, 77);
                    overlap_for(isa)({rows.data(), count, stride, columns, outputs, sums.data()});
                    CHECK_EQ(sums.back(), 77);
                    // Output column 2 j + q takes columns 4, 2, 0 (q = 0) or 3, 1 of the kernel.
                    for (int j = 0; j < columns; ++j)
                        for (int q = 0; q < 2; ++q)
                            for (int o = 0; o < outputs; ++o) {
                                std::uint32_t want = 0;
                                for (const std::int32_t* row : rows)
                                    for (int k = q; k < 5; k += 2)
                                        want += static_cast<std::uint32_t>(
                                            row[(j + (q + 2 - k) / 2) * stride + k * outputs + o]);
                                CHECK_EQ(sums[static_cast<std::size_t>((2 * j + q) * outputs + o)],
                                         static_cast<std::int32_t>(want));
                            }
                }
}

}  // namespace jahp::test
