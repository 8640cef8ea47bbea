// SPDX-License-Identifier: Apache-2.0
// Numbers of files, least byte first, on machines of either order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace jahp {

// `bytes` has them from `at` on.
inline std::uint32_t get_u16(std::span<const std::uint8_t> bytes, std::size_t at) {
    return std::uint32_t{bytes[at]} | std::uint32_t{bytes[at + 1]} << 8;
}
inline std::uint32_t get_u32(std::span<const std::uint8_t> bytes, std::size_t at) {
    return get_u16(bytes, at) | get_u16(bytes, at + 2) << 16;
}

inline void put_u16(std::vector<std::uint8_t>& bytes, std::uint32_t value) {
    bytes.push_back(static_cast<std::uint8_t>(value));
    bytes.push_back(static_cast<std::uint8_t>(value >> 8));
}
inline void put_u32(std::vector<std::uint8_t>& bytes, std::uint32_t value) {
    put_u16(bytes, value);
    put_u16(bytes, value >> 16);
}

}  // namespace jahp
