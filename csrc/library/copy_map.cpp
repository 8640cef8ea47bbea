// SPDX-License-Identifier: Apache-2.0
#include "library/copy_map.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::uint8_t kLeft = 1, kAbove = 2;
constexpr std::size_t kChunkBytes = 8;
// What leaving out a position of y and of z saves, in eighths of a byte: what constant areas take where the nets know
// them well.
constexpr std::size_t kLeastGain = 4, kLeastHyperGain = 16;
// One position of so many must be a copy for copying to be tried where it may not pay.
constexpr std::size_t kLeastShare = 8;

// All that can be copied, from above where that and the left would do: runs of rows are then one.
std::size_t find(std::span<const std::int32_t> latents, MapSize size, int channels, std::vector<std::uint8_t>& maps) {
    const auto n = static_cast<std::ptrdiff_t>(channels), w = static_cast<std::ptrdiff_t>(size.width);
    std::size_t count = 0;
    const std::int32_t* at = latents.data();
    for (int row = 0; row < size.height; ++row)
        for (int column = 0; column < size.width; ++column, at += n) {
            const bool above = row > 0 && std::equal(at, at + n, at - w * n);
            const bool left = !above && column > 0 && std::equal(at, at + n, at - n);
            maps.push_back(above ? kAbove : left ? kLeft : 0);
            count += above || left;
        }
    return count;
}

// Of each run of equal kinds 3 (its length - 1) + kind, as LEB128.
std::vector<std::uint8_t> pack(std::span<const std::uint8_t> maps) {
    std::vector<std::uint8_t> out;
    for (std::size_t start = 0, end; start < maps.size(); start = end) {
        for (end = start + 1; end < maps.size() && maps[end] == maps[start];) ++end;
        std::uint64_t value = 3 * (std::uint64_t{end - start} - 1) + maps[start];
        for (; value > 127; value >>= 7) out.push_back(static_cast<std::uint8_t>(value | 128));
        out.push_back(static_cast<std::uint8_t>(value));
    }
    return out;
}

void check(std::span<const std::uint8_t> kinds, MapSize size) {
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto width = static_cast<std::size_t>(size.width);
        if ((i % width == 0 && kinds[i] == kLeft) || (i < width && kinds[i] == kAbove))
            throw Error(Fault::format, "a copied position is as one that there is not");
    }
}

}  // namespace

std::optional<CopyChoice> choose_copies(const Latents& latents, int channels, int hyper_channels) {
    CopyChoice choice{{}, {}, false};
    const MapSize z{latents.hyper_height, latents.hyper_width}, y{latents.height, latents.width};
    const std::size_t hyper = find(latents.z, z, hyper_channels, choice.maps),
                      count = find(latents.y, y, channels, choice.maps);
    const std::size_t gain = (kLeastHyperGain * hyper + kLeastGain * count) / 8;
    const bool many = kLeastShare * count >= y.count();
    if (gain <= kChunkBytes && !many) return std::nullopt;
    choice.packed = pack(choice.maps);
    choice.sure = gain > choice.bytes();
    if (!choice.sure && !many) return std::nullopt;
    return choice;
}

std::vector<std::uint8_t> unpack_copies(std::span<const std::uint8_t> data, MapSize z, MapSize y) {
    const std::size_t wanted = z.count() + y.count();
    std::vector<std::uint8_t> maps;
    maps.reserve(wanted);
    std::uint64_t value = 0;
    int shift = 0;
    bool fine = true;
    for (const std::uint8_t byte : data) {
        value |= std::uint64_t{byte & 127u} << shift;
        shift += 7;
        if (byte < 128) {
            const std::uint64_t length = value / 3 + 1;
            fine = length <= wanted - maps.size();
            if (!fine) break;
            maps.insert(maps.end(), static_cast<std::size_t>(length), static_cast<std::uint8_t>(value % 3));
            value = 0;
            shift = 0;
        } else if (shift > 28) {
            fine = false;
            break;
        }
    }
    if (!fine || maps.size() != wanted || shift != 0)
        throw Error(Fault::format, "the map of copied positions does not have " + std::to_string(wanted) + " values");
    const std::span<const std::uint8_t> kinds(maps);
    check(kinds.first(z.count()), z);
    check(kinds.subspan(z.count()), y);
    return maps;
}

}  // namespace jahp
