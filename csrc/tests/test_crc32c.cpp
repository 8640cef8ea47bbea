// SPDX-License-Identifier: Apache-2.0
#include "core/crc32c.hpp"

#include <numeric>

#include "tests/check.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::uint32_t bit_by_bit(std::span<const std::uint8_t> bytes) {
    std::uint32_t crc = 0xffffffffu;
    for (const std::uint8_t byte : bytes) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

}  // namespace

TEST(vectors_of_rfc_3720) {
    Bytes rising(32);
    std::iota(rising.begin(), rising.end(), std::uint8_t{0});
    CHECK_EQ(crc32c(Bytes(32, 0)), 0x8A9136AAu);
    CHECK_EQ(crc32c(Bytes(32, 0xff)), 0x62A8AB43u);
    CHECK_EQ(crc32c(rising), 0x46DD794Eu);
    CHECK_EQ(crc32c(Bytes(rising.rbegin(), rising.rend())), 0x113FDB5Cu);
    CHECK_EQ(crc32c(Bytes{'1', '2', '3', '4', '5', '6', '7', '8', '9'}), 0xE3069283u);
    CHECK_EQ(crc32c({}), 0u);
}

TEST(every_length_and_split) {
    Random random(1);
    for (std::size_t n = 0; n < 40; ++n) {
        const Bytes bytes = random.many<std::uint8_t>(n, 0, 255);
        const std::span<const std::uint8_t> all(bytes);
        const std::uint32_t whole = crc32c(all);
        CHECK_EQ(whole, bit_by_bit(all));
        for (std::size_t cut = 0; cut <= n; ++cut) CHECK_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), whole);
    }
}

TEST(every_single_bit_counts) {
    Bytes bytes = Random(2).many<std::uint8_t>(29, 0, 255);
    const std::uint32_t whole = crc32c(bytes);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        CHECK(crc32c(bytes) != whole);
        bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    }
}

}  // namespace jahp::test
