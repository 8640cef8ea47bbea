// SPDX-License-Identifier: Apache-2.0
#include "simd/symbol_checksum.hpp"

#include <limits>

#include "core/symbol_mix.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

// The formula of docs/reference/format.md in 64 bits, reduced by hand: not the function that the kernels share.
std::uint32_t textbook(const std::vector<std::int32_t>& values, std::uint32_t first) {
    constexpr std::uint64_t k32 = 0xFFFFFFFF;
    std::uint64_t sum = 0, index = first;
    for (const std::int32_t value : values) {
        std::uint64_t h = ((index++ & k32) * 0x9E3779B1 + (static_cast<std::uint64_t>(value) & k32) * 0x85EBCA77) & k32;
        h = (h ^ h >> 15) * 0x2C1B3C6D & k32;
        h = (h ^ h >> 12) * 0x297A2D39 & k32;
        sum += h ^ h >> 15;
    }
    return static_cast<std::uint32_t>(sum);
}

}  // namespace

TEST(every_instruction_set_sums_alike) {
    Random random(1);
    constexpr std::int64_t kLeast = std::numeric_limits<std::int32_t>::min(),
                           kMost = std::numeric_limits<std::int32_t>::max();
    for (std::size_t count = 0; count <= 70; ++count)
        for (const std::uint32_t first : {0u, 1u, 294'912u, 0xFFFFFFFFu, 0xFFFFFFE0u})  // the index wraps, too
            for (const std::int64_t most : {std::int64_t{3}, kMost}) {
                const auto values = random.many<std::int32_t>(count, most == kMost ? kLeast : -most, most);
                const std::uint32_t want = textbook(values, first);
                for (const Isa isa : available_isas())
                    CHECK_EQ(symbol_checksum_for(isa)(values.data(), count, first), want);
            }
}

TEST(parts_add_up) {
    Random random(2);
    const auto values = random.many<std::int32_t>(1000, -32767, 32767);
    for (const Isa isa : available_isas()) {
        const SymbolChecksum checksum = symbol_checksum_for(isa);
        for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{333}, std::size_t{1000}})
            CHECK_EQ(checksum(values.data(), cut, 7) +
                         checksum(values.data() + cut, 1000 - cut, 7 + static_cast<std::uint32_t>(cut)),
                     textbook(values, 7));
    }
}

}  // namespace jahp::test
