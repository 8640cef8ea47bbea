// SPDX-License-Identifier: Apache-2.0
// Against a search that looks at all candidates again after each step. tests/search/test_step_search.py compares with
// the plain version, to the bit.
#include "core/step_search.hpp"

#include <cmath>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

struct Arrays {
    std::vector<float> slope, curvature, answer, down, up, interaction;
    StepProblem problem;
    Arrays(std::uint32_t seed, int height, int width, int channels, float margin) {
        Random random(seed);
        const auto c = static_cast<std::size_t>(channels), positions = static_cast<std::size_t>(height * width),
                   all = positions * c;
        slope = random_floats(random, all, 4);
        curvature = random_floats(random, c, 4);
        answer = random_floats(random, positions, 1);
        down = random_floats(random, all, 4);
        up = random_floats(random, all, 4);
        interaction = random_floats(random, 9 * c * c, 1);
        for (float& v : curvature) v = std::abs(v);
        for (float& v : answer) v = std::abs(v) + 0.1f;
        problem = {height, width, channels, slope, curvature, answer, down, up, interaction, margin};
    }
};

float cost(const StepProblem& p, std::span<const float> slope, std::size_t i, int d) {
    const auto c = static_cast<std::size_t>(p.channels);
    const float curvature = p.curvature[i % c] * p.answer[i / c], twice = 2 * slope[i];
    const float distortion = d < 0 ? curvature - twice : curvature + twice;
    return distortion + (d < 0 ? p.down : p.up)[i];
}

std::vector<std::int32_t> textbook(const StepProblem& p) {
    const std::vector<float> first(p.slope.begin(), p.slope.end());
    std::vector<float> slope = first;
    std::vector<std::int32_t> steps(slope.size());
    std::vector<bool> seen(slope.size());
    for (;;) {
        std::size_t best = slope.size();
        int best_step = 0;
        float least = -p.margin;
        for (std::size_t i = 0; i < slope.size(); ++i)
            for (const int d : {-1, 1})
                if (!seen[i] && cost(p, first, i, d) < least) {
                    least = cost(p, first, i, d);
                    best = i;
                    best_step = d;
                }
        if (best == slope.size()) return steps;
        seen[best] = true;
        if (!(cost(p, slope, best, best_step) < -p.margin)) continue;
        steps[best] = best_step;
        const int position = static_cast<int>(best) / p.channels, channel = static_cast<int>(best) % p.channels;
        for (int k = 0; k < 9; ++k) {
            const int row = position / p.width + k / 3 - 1, column = position % p.width + k % 3 - 1;
            if (row < 0 || column < 0 || row >= p.height || column >= p.width) continue;
            for (int o = 0; o < p.channels; ++o) {
                const float strength = static_cast<float>(best_step) * p.answer[static_cast<std::size_t>(position)];
                const float change = strength *
                                     p.interaction[static_cast<std::size_t>((channel * 9 + k) * p.channels + o)];
                slope[static_cast<std::size_t>((row * p.width + column) * p.channels + o)] += change;
            }
        }
    }
}

}  // namespace

TEST(steps_are_the_textbooks) {
    std::uint32_t seed = 0;
    for (const auto& [h, w, c] : {std::tuple{1, 1, 1}, {1, 5, 3}, {4, 1, 16}, {3, 4, 7}, {4, 3, 20}})
        for (const float margin : {0.0f, 1.5f, 100.0f}) {
            const Arrays arrays(++seed, h, w, c, margin);
            CHECK(best_steps(arrays.problem) == textbook(arrays.problem));
        }
}

TEST(sizes_that_contradict_each_other) {
    Arrays arrays(1, 2, 3, 4, 0);
    for (const auto member : {&StepProblem::slope, &StepProblem::curvature, &StepProblem::answer, &StepProblem::down,
                              &StepProblem::up, &StepProblem::interaction}) {
        StepProblem wrong = arrays.problem;
        wrong.*member = (wrong.*member).first((wrong.*member).size() - 1);
        CHECK_FAULT(usage, "values, not", best_steps(wrong));
    }
    arrays.problem.width = 0;
    CHECK_FAULT(usage, "a position and a channel", best_steps(arrays.problem));
}

}  // namespace jahp::test
