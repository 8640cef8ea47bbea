// SPDX-License-Identifier: Apache-2.0
#include "library/drawings.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "library/layer_chunk.hpp"
#include "library/model_config.hpp"
#include "residual/drawing.hpp"

namespace jahp {
namespace {

constexpr int kBounds[] = {2, 4, 8, 12, 16, 24, 31};
constexpr double kLambdas[] = {0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18};
constexpr std::int64_t kUnit = 1 << 16;

double trade_off(int code) {
    const int below = std::min(code / kQualitySteps, 7) - 1;
    const double share = code / double{kQualitySteps} - (below + 1);
    const double from = std::log(kLambdas[below]), to = std::log(kLambdas[below + 1]);
    return std::exp(from + share * (to - from));
}

}  // namespace

bool is_drawing(const Samples& samples, PixelShape shape) {
    return is_drawing(count_repeated(samples, shape), shape.height, shape.width);
}

void each_drawn(const Samples& samples, PixelShape shape, int threads, const Poll& poll,
                const std::function<bool(Drawn&&)>& take, const std::function<bool(std::int64_t)>& worth) {
    const Bytes whole = pack_colours(samples, shape, 0, threads, poll);
    if (!take({whole, samples, 0})) return;
    for (const int bound : kBounds) {
        poll();
        Samples merged = merge_colours(samples, shape, bound, 2 * bound);
        const Errors errors = errors_of(samples, merged);
        if (worth && !worth(errors.squares)) return;
        Bytes layer = errors.squares == 0 ? whole : pack_colours(merged, shape, errors.largest, threads, poll);
        if (!take({std::move(layer), std::move(merged), errors.squares})) return;
    }
}

std::int64_t loss(int code, std::int64_t squares, std::size_t size, int channels) {
    const auto price = static_cast<std::int64_t>(std::nearbyint(trade_off(code) * double{kUnit}));
    return price * squares + 8 * static_cast<std::int64_t>(size) * channels * kUnit;
}

}  // namespace jahp
