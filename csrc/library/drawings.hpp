// SPDX-License-Identifier: Apache-2.0
// Drawings without the nets, or parts of them, as jahp_fast.search.drawings keeps them: what is said there is why.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "library/container.hpp"
#include "library/picture.hpp"

namespace jahp {

// A picture kept by itself.
struct Drawn {
    Bytes layer;  // the chunk's data
    Samples samples;
    std::int64_t squares;  // the sum of the squared errors of all samples
};

// A picture the drawn part of which lies over the pixels of its latents.
struct Overlaid {
    Bytes layer;  // the chunk's data, of that part
    std::int64_t hoped;  // the loss of that part, and the least that the nets may be expected to add to it
    Samples holes;  // where the nets' pixels show
};

bool is_drawing(const Samples& samples, PixelShape shape);
bool maybe_drawn(const Samples& samples, PixelShape shape);

// A drawing that costs so many times what the nets' file does is not merged further.
constexpr int kHope = 4;
// Eighths of what the nets' file costs in the holes that they cost there at least, once they get nothing else.
constexpr int kLeft = 5;

// Ways to keep a drawing by itself: all pixels exactly, and then with colours merged more and more.
class Drawings {
public:
    Drawings() = default;  // none
    Drawings(Samples samples, PixelShape shape, int threads, const Poll& poll)
        : samples_(std::move(samples)), shape_(shape), threads_(threads), poll_(&poll) {}

    // The next one; nothing behind the last. worth(squares) is asked before it is coded, since errors alone may say
    // that it is none to take: then there is nothing more.
    std::optional<Drawn> next(const std::function<bool(std::int64_t)>& worth = {});

private:
    Samples samples_;
    PixelShape shape_{};
    int threads_ = 1;
    const Poll* poll_ = nullptr;
    Bytes whole_;  // the layer of all pixels exactly
    int given_ = 0;
};

// With parts laid over, of which none, one or two pay: what costs less so, square by square; and the plain ground, with
// all that is linked to it by pixels of the same colour, so that the nets see none of its edge. coarse: as it comes
// back from its latents at this quality, whose file has `size` bytes.
std::vector<Overlaid> overlaid(const Samples& samples, const Samples& coarse, PixelShape shape, int code,
                               std::size_t size, int threads, const Poll& poll);

// The chunk's data of the squares that are of one colour. None where there is little such ground, or nothing else.
std::optional<Bytes> plain_ground(const Samples& samples, PixelShape shape, int threads, const Poll& poll);

// The loss of a picture of so many bytes and summed squared errors, in 2^-16 bits times the channels; at a quality, 1
// to 8, as its code.
std::int64_t loss(int code, std::int64_t squares, std::size_t size, int channels);

}  // namespace jahp
