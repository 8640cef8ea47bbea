// SPDX-License-Identifier: Apache-2.0
// Which values the samples of a deep picture have, where many are left out: docs/reference/format.md, "Few values".
//
// A picture of 8 or 12 bits that is stored in 16 has few of the 65536 values. Its samples are coded as their places
// among those that occur, which need fewer bits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace jahp {

using Values = std::vector<std::uint16_t>;  // rising

// Bits of the samples that are places among `count` values, 1 .. 65536: 8 .. 16.
int bits_of_places(std::size_t count);

// Values among which all samples are, of which there is at least one; nothing where coding places can hardly pay. They
// are those that occur; where these are more than half, rounded up, of the numbers from the least to the largest in
// steps of the greatest that meets them all, they are these numbers, which are named in fewer bytes; and none with a
// step of 1.
std::optional<Values> sparse_values(std::span<const std::uint16_t> samples);

// Each sample's place among the values, of which each is one; of 8 bits, if bits_of_places says so, or of 16.
std::vector<std::uint8_t> places8(std::span<const std::uint16_t> samples, std::span<const std::uint16_t> values);
std::vector<std::uint16_t> places16(std::span<const std::uint16_t> samples, std::span<const std::uint16_t> values);

// The values of a picture of `bits`, 9 to 16, as data of a chunk, and out of them.
std::vector<std::uint8_t> pack_values(std::span<const std::uint16_t> values, int bits);

// How many values the data speak of. Error(format) if they are too short to say so.
std::size_t count_values(std::span<const std::uint8_t> data, int bits);
// Error(format) if there are more or fewer than that, or the data do not end with them.
Values unpack_values(std::span<const std::uint8_t> data, int bits);

// Places become what they stand for, in place. Error(format) for one that there is not.
template <typename Place>
void look_up(std::span<const Place> places, std::span<const std::uint16_t> values, std::span<std::uint16_t> samples);

}  // namespace jahp
