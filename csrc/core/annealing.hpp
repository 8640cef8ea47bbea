// SPDX-License-Identifier: Apache-2.0
// What an encoder's search does with each latent by itself: symbols at random, up or down, and a descent of what they
// are drawn from. jahp_fast.search.annealing, its plain version, tells why.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace jahp {

// How far latents move. A moment is kept of each: share of the old, the rest of the new.
struct Pace {
    float mean, square;  // shares, of the gradient and of its square
    float rate;  // of the mean over the root of the mean square
    float squares;  // factor of the mean square, for what is missing of it at first
};

// The latents of one image. Floats are added, multiplied, divided and rooted one by one: all machines agree.
class Annealing {
public:
    static constexpr float kLimit = 32767;  // of latents, as of symbols

    // start: positions x channels, within ±kLimit. Error(usage) for values beyond it, and for a size that is no
    // multiple of channels.
    Annealing(std::span<const float> start, int channels);

    int channels() const { return channels_; }
    std::size_t size() const { return latents_.size(); }

    // Draws symbols, the integer below or above: above with a probability that rises from 0 to 1 over `width` of a
    // step, 0.5 in the middle, and is never 1 below it for a width of at most 1. round: counts the draws. A latent's
    // random numbers go by the golden ratio from one round to the next, from a place of its own: over a few rounds they
    // fall evenly.
    void draw(float width, std::uint32_t round);
    const std::vector<std::int32_t>& symbols() const { return symbols_; }
    std::vector<std::int32_t> below() const;

    // Descends along what a step up costs: 2 slope + bits, and curvature, less where up was drawn. All in bits; slope
    // and bits have size() elements, curvature channels(), else Error(usage). A latent that would leave its limit, or
    // all numbers, stays.
    void move(std::span<const float> slope, std::span<const float> bits, std::span<const float> curvature,
              const Pace& pace);

    std::vector<std::int32_t> nearest() const;  // halves to even

private:
    int channels_;
    std::vector<float> latents_, means_, squares_;
    std::vector<std::int32_t> symbols_;
    std::vector<std::uint8_t> up_;
};

}  // namespace jahp
