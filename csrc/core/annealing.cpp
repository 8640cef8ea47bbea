// SPDX-License-Identifier: Apache-2.0
// Compiled with -ffp-contract=off: no product is fused with a sum.
#include "core/annealing.hpp"

#include <cmath>
#include <string>

#include "core/error.hpp"
#include "core/symbol_mix.hpp"

namespace jahp {
namespace {

constexpr float kTiny = 1e-8f;
constexpr std::uint32_t kGolden = 0x9E3779B9;  // 2^32 over the golden ratio

inline std::int32_t floor_of(float x) {
    const auto truncated = static_cast<std::int32_t>(x);
    return truncated - (static_cast<float>(truncated) > x ? 1 : 0);
}

void require(std::size_t size, std::size_t wanted, const char* name) {
    if (size != wanted)
        throw Error(Fault::usage,
                    std::string(name) + " has " + std::to_string(size) + " values, not " + std::to_string(wanted));
}

}  // namespace

Annealing::Annealing(std::span<const float> start, int channels)
    : channels_(channels), latents_(start.begin(), start.end()), means_(start.size()), squares_(start.size()),
      symbols_(start.size()), up_(start.size()) {
    if (channels < 1 || start.size() % static_cast<std::size_t>(channels) != 0)
        throw Error(Fault::usage, "latents are no multiple of their channels");
    for (const float x : start)
        if (!(x >= -kLimit && x <= kLimit)) throw Error(Fault::usage, "a latent is beyond 32767 or not a number");
}

void Annealing::draw(float width, std::uint32_t round) {
    const float scale = 1 / width;
    for (std::size_t i = 0; i < latents_.size(); ++i) {
        const std::int32_t below = floor_of(latents_[i]);
        const float middle = latents_[i] - static_cast<float>(below) - 0.5f;
        const std::uint32_t random = (symbol_mix(static_cast<std::uint32_t>(i), 0) + round * kGolden) >> 8;
        const float centred = static_cast<float>(static_cast<std::int32_t>(random)) * 0x1p-24f - 0.5f;
        up_[i] = centred < middle * scale ? 1 : 0;
        symbols_[i] = below + up_[i];
    }
}

std::vector<std::int32_t> Annealing::below() const {
    std::vector<std::int32_t> out(symbols_);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] -= up_[i];
    return out;
}

void Annealing::move(std::span<const float> slope, std::span<const float> bits, std::span<const float> curvature,
                     const Pace& pace) {
    require(slope.size(), size(), "slope");
    require(bits.size(), size(), "bits");
    require(curvature.size(), static_cast<std::size_t>(channels_), "curvature");
    const float new_mean = 1 - pace.mean, new_square = 1 - pace.square;
    const auto channels = static_cast<std::size_t>(channels_);
    for (std::size_t first = 0; first < size(); first += channels) {
        float* const __restrict latent = latents_.data() + first, * const __restrict mean = means_.data() + first,
                     * const __restrict square = squares_.data() + first;
        const float *const __restrict u = slope.data() + first, *const __restrict b = bits.data() + first,
                                *const __restrict c = curvature.data();
        const std::uint8_t* const __restrict up = up_.data() + first;
        for (std::size_t i = 0; i < channels; ++i) {
            const float g = 2 * u[i] + b[i] + (up[i] != 0 ? -c[i] : c[i]);
            mean[i] = pace.mean * mean[i] + new_mean * g;
            square[i] = pace.square * square[i] + new_square * (g * g);
            const float moved = latent[i] - pace.rate * mean[i] / (std::sqrt(pace.squares * square[i]) + kTiny);
            latent[i] = moved >= -kLimit && moved <= kLimit ? moved : latent[i];
        }
    }
}

std::vector<std::int32_t> Annealing::nearest() const {
    std::vector<std::int32_t> out;
    out.reserve(size());
    for (const float x : latents_) {
        const std::int32_t below = floor_of(x);
        const float rest = x - static_cast<float>(below);
        out.push_back(below + (rest > 0.5f || (rest == 0.5f && (below & 1) != 0) ? 1 : 0));
    }
    return out;
}

}  // namespace jahp
