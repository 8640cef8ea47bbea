// SPDX-License-Identifier: Apache-2.0
// Compiled with -ffp-contract=off: no product is fused with a sum.
#include "core/step_search.hpp"

#include <algorithm>
#include <string>
#include <tuple>

#include "core/error.hpp"

namespace jahp {
namespace {

void check(const StepProblem& p) {
    if (p.height < 1 || p.width < 1 || p.channels < 1) throw Error(Fault::usage, "steps need a position and a channel");
    const auto c = static_cast<std::size_t>(p.channels),
               positions = static_cast<std::size_t>(p.height) * static_cast<std::size_t>(p.width), all = positions * c;
    const auto sized = [](std::span<const float> span, std::size_t size, const char* name) {
        if (span.size() != size)
            throw Error(Fault::usage, std::string(name) + " has " + std::to_string(span.size()) + " values, not " +
                                          std::to_string(size));
    };
    sized(p.slope, all, "slope");
    sized(p.curvature, c, "curvature");
    sized(p.answer, positions, "answer");
    sized(p.down, all, "down");
    sized(p.up, all, "up");
    sized(p.interaction, 9 * c * c, "interaction");
}

struct Candidate {
    float cost;
    std::size_t place;
    int step;
};

std::vector<Candidate> candidates(const StepProblem& p) {
    std::vector<Candidate> found;
    const auto channels = static_cast<std::size_t>(p.channels);
    for (std::size_t position = 0, i = 0; position < p.answer.size(); ++position)
        for (std::size_t c = 0; c < channels; ++c, ++i) {
            const float curvature = p.curvature[c] * p.answer[position];
            const float down = curvature - 2 * p.slope[i] + p.down[i], up = curvature + 2 * p.slope[i] + p.up[i];
            const float cost = std::min(down, up);
            if (cost < -p.margin) found.push_back({cost, i, down <= up ? -1 : 1});
        }
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return std::tie(a.cost, a.place) < std::tie(b.cost, b.place);
    });
    return found;
}

}  // namespace

std::vector<std::int32_t> best_steps(const StepProblem& p) {
    check(p);
    const auto channels = static_cast<std::size_t>(p.channels);
    std::vector<std::int32_t> steps(p.slope.size());
    std::vector<float> slope(p.slope.begin(), p.slope.end());
    for (const Candidate& candidate : candidates(p)) {
        const std::size_t i = candidate.place, position = i / channels, c = i % channels;
        const float curvature = p.curvature[c] * p.answer[position];
        const float cost = candidate.step < 0 ? curvature - 2 * slope[i] + p.down[i]
                                              : curvature + 2 * slope[i] + p.up[i];
        if (!(cost < -p.margin)) continue;
        steps[i] = candidate.step;
        const float strength = static_cast<float>(candidate.step) * p.answer[position];
        const int row = static_cast<int>(position) / p.width, column = static_cast<int>(position) % p.width;
        for (int r = std::max(row - 1, 0); r <= std::min(row + 1, p.height - 1); ++r)
            for (int k = std::max(column - 1, 0); k <= std::min(column + 1, p.width - 1); ++k) {
                float* const __restrict to = slope.data() +
                                             (static_cast<std::size_t>(r) * static_cast<std::size_t>(p.width) +
                                              static_cast<std::size_t>(k)) *
                                                 channels;
                const float* const __restrict from = p.interaction.data() +
                                                     (c * 9 +
                                                      static_cast<std::size_t>((r - row + 1) * 3 + k - column + 1)) *
                                                         channels;
                for (std::size_t o = 0; o < channels; ++o) to[o] += strength * from[o];
            }
    }
    return steps;
}

}  // namespace jahp
