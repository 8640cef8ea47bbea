// SPDX-License-Identifier: Apache-2.0
#include "library/drawings.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "library/layer_chunk.hpp"
#include "library/model_config.hpp"
#include "residual/drawing.hpp"
#include "residual/overlay.hpp"

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

std::int64_t price(int code) { return static_cast<std::int64_t>(std::nearbyint(trade_off(code) * double{kUnit})); }

}  // namespace

bool maybe_drawn(const Samples& samples, PixelShape shape) {
    return maybe_drawn(count_repeated(samples, shape), shape.height, shape.width);
}

bool is_drawing(const Samples& samples, PixelShape shape) {
    return is_drawing(count_repeated(samples, shape), shape.height, shape.width);
}

std::optional<Drawn> Drawings::next(const std::function<bool(std::int64_t)>& worth) {
    if (poll_ == nullptr || given_ > static_cast<int>(std::size(kBounds))) return {};
    const int number = given_++;
    if (number == 0) {
        whole_ = pack_colours(samples_, shape_, 0, threads_, *poll_);
        return Drawn{whole_, samples_, 0};
    }
    (*poll_)();
    const int bound = kBounds[number - 1];
    Samples merged = merge_colours(samples_, shape_, bound, 2 * bound);
    const Errors errors = errors_of(samples_, merged);
    if (worth && !worth(errors.squares)) return {};
    Bytes layer = errors.squares == 0 ? whole_ : pack_colours(merged, shape_, errors.largest, threads_, *poll_);
    return Drawn{std::move(layer), std::move(merged), errors.squares};
}

std::vector<Overlaid> overlaid(const Samples& samples, const Samples& coarse, PixelShape shape, int code,
                               std::size_t size, int threads, const Poll& poll) {
    std::vector<Overlaid> found;
    if (!partly_flat(samples, shape)) return found;
    const std::vector<std::uint32_t> costs = colour_costs(samples, shape, threads, poll);
    const Trade trade{price(code), static_cast<std::int64_t>(size)};
    const Samples chosen = choose_holes(samples, coarse, costs, shape, trade);
    const Samples ground = beside_plain(samples, shape, true);
    for (const Samples* holes : {&chosen, &ground}) {
        if (holes->empty() || (holes == &ground && ground == chosen)) continue;
        Bytes best = pack_overlay(samples, *holes, shape, threads, poll);
        std::int64_t least = loss(code, 0, best.size(), shape.channels);
        for (const int bound : kBounds) {
            if (holes == &ground) break;  // it has no colours to merge
            const Samples fewer = merge_colours(samples, shape, bound, 2 * bound, *holes);
            Bytes layer = pack_overlay(fewer, *holes, shape, threads, poll);
            const std::int64_t now = loss(code, errors_of(samples, fewer).squares, layer.size(), shape.channels);
            if (now >= least) break;
            best = std::move(layer);
            least = now;
        }
        const std::int64_t rest = kLeft * cost_of_holes(samples, coarse, *holes, shape, trade) / 8;
        found.push_back({std::move(best), least + rest, *holes});
    }
    return found;
}

std::optional<Bytes> plain_ground(const Samples& samples, PixelShape shape, int threads, const Poll& poll) {
    if (!partly_flat(samples, shape)) return {};
    const Samples holes = beside_plain(samples, shape, false);
    if (holes.empty()) return {};
    return pack_overlay(samples, holes, shape, threads, poll);
}

std::int64_t loss(int code, std::int64_t squares, std::size_t size, int channels) {
    return price(code) * squares + 8 * static_cast<std::int64_t>(size) * channels * kUnit;
}

}  // namespace jahp
