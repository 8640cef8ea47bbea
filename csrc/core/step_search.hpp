// SPDX-License-Identifier: Apache-2.0
// Which symbols of an image to change by one: those whose step pays, the best first, each on what the steps before it
// have left.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace jahp {

// All in bits, channels last. A step of d = -1 or 1 costs curvature * answer + 2 d slope + (d < 0 ? down : up).
struct StepProblem {
    int height, width, channels;
    std::span<const float> slope;        // (height, width, channels): half of the distortion's gradient
    std::span<const float> curvature;    // (channels)
    std::span<const float> answer;       // (height, width)
    std::span<const float> down, up;     // (height, width, channels): the bits that a step adds
    std::span<const float>
        interaction;  // (channels, 3, 3, channels): what a step up of the first channel, where answer is 1, adds to the
                      // slope of the last, a row above (0) to a row below (2), a column before to a column behind
    float margin;  // a step has to cost less than -margin
};

// Steps (height, width, channels). Candidates are the symbols of which a step, the cheaper one, pays at first; in the
// order of their costs, then of their places, each is taken if it still does. Sums and products round one by one, as in
// jahp_fast.search.step_search, its plain version. Error(usage) for spans of other sizes.
std::vector<std::int32_t> best_steps(const StepProblem& problem);

}  // namespace jahp
