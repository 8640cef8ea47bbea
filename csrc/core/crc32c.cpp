// SPDX-License-Identifier: Apache-2.0
#include "core/crc32c.hpp"

#include <array>

namespace jahp {
namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;  // [k][b]: byte b followed by k zero bytes

constexpr Tables make_tables() {
    Tables t{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t crc = b;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0u);
        t[0][b] = crc;
    }
    for (std::size_t k = 1; k < 8; ++k)
        for (std::size_t b = 0; b < 256; ++b) t[k][b] = t[k - 1][b] >> 8 ^ t[0][t[k - 1][b] & 0xff];
    return t;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32c(std::span<const std::uint8_t> bytes, std::uint32_t crc) {
    crc = ~crc;
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        const std::uint8_t* p = bytes.data() + i;
        crc = kTables[7][(crc ^ p[0]) & 0xff] ^ kTables[6][(crc >> 8 ^ p[1]) & 0xff] ^
              kTables[5][(crc >> 16 ^ p[2]) & 0xff] ^ kTables[4][(crc >> 24 ^ p[3]) & 0xff] ^ kTables[3][p[4]] ^
              kTables[2][p[5]] ^ kTables[1][p[6]] ^ kTables[0][p[7]];
    }
    for (; i < bytes.size(); ++i) crc = crc >> 8 ^ kTables[0][(crc ^ bytes[i]) & 0xff];
    return ~crc;
}

}  // namespace jahp
