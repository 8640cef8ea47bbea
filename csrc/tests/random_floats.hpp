// SPDX-License-Identifier: Apache-2.0
// Floats for the tests: multiples of 2^-20, the same on every machine.
#pragma once

#include <vector>

#include "core/aligned.hpp"
#include "tests/check.hpp"

namespace jahp::test {

inline float random_float(Random& random, float limit) {
    return static_cast<float>(random(-(1 << 20), 1 << 20)) * (limit / (1 << 20));
}

inline std::vector<float> random_floats(Random& random, std::size_t count, float limit) {
    std::vector<float> out(count);
    for (float& v : out) v = random_float(random, limit);
    return out;
}

}  // namespace jahp::test
