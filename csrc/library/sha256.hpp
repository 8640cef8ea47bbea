// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), by which model files vouch for their tensors. Plain: ten megabytes take some 40 ms, once a
// model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace jahp {

class Sha256 {
public:
    void add(std::span<const std::uint8_t> bytes);
    // Of all bytes that were added. Nothing may be added after it.
    std::array<std::uint8_t, 32> digest();

private:
    void block(const std::uint8_t* bytes);

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> held_{};
    std::size_t waiting_ = 0;  // bytes of held_
    std::uint64_t length_ = 0;
};

std::array<std::uint8_t, 32> sha256(std::span<const std::uint8_t> bytes);

// Lower case, two digits a byte.
std::string hexadecimal(std::span<const std::uint8_t> bytes);

}  // namespace jahp
