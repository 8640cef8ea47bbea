// SPDX-License-Identifier: Apache-2.0
// Copied positions (docs/reference/format.md, "Symbols that are not coded"), as jahp_fast.entropy.copies has them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/context_decoder.hpp"

namespace jahp {

// What an encoder may copy.
struct CopyChoice {
    std::vector<std::uint8_t> maps;  // for a StreamLayout
    std::vector<std::uint8_t> packed;  // the chunk's data
    bool sure;  // copying pays whatever the nets know; else it is to be tried

    std::size_t bytes() const { return 8 + packed.size(); }  // of the chunk in a file
};

// All of latents that can be copied, or nothing where there is little: that does not pay.
std::optional<CopyChoice> choose_copies(const Latents& latents, int channels, int hyper_channels);

struct MapSize {
    int height, width;
    std::size_t count() const { return static_cast<std::size_t>(height) * static_cast<std::size_t>(width); }
};

// Data of a chunk COPY -> maps for a layout. z is 0 x 0 where there is none. Allocates what the sizes say, whatever the
// data claim. Error(format) for another number of positions, a number that does not end, and a position that is as one
// which there is not.
std::vector<std::uint8_t> unpack_copies(std::span<const std::uint8_t> data, MapSize z, MapSize y);

}  // namespace jahp
