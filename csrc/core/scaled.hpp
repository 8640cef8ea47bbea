// SPDX-License-Identifier: Apache-2.0
// Values times a factor a channel: what gains do to latents.
#pragma once

#include <cstdint>
#include <span>

namespace jahp {

// out[i] = x[i] * mul[c] / 2^shift[c] of channel c = i % mul.size(), rounded, halves up, and clamped to ±limit, which
// Out holds. Out is int16 or int32. Error(usage) where the sizes contradict each other, for a limit that is not 1 to
// the largest of Out, and for shifts that are not 1 to 62.
template <typename Out>
void scaled(std::span<const std::int32_t> x, std::span<const std::int32_t> mul, std::span<const std::uint8_t> shift,
            std::int32_t limit, std::span<Out> out);

}  // namespace jahp
