// SPDX-License-Identifier: Apache-2.0
// What drawing and moving do. tests/search/test_annealing.py compares with the plain version, to the bit.
#include "core/annealing.hpp"

#include <cmath>
#include <limits>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr Pace kPace{0.5f, 0.5f, 0.25f, 2.0f};

}  // namespace

TEST(draws_follow_the_fractions) {
    // 1,000 latents of each fraction, over eight rounds: as often up as their probability says.
    for (const float width : {1.0f, 0.5f})
        for (const float fraction : {0.0f, 0.3f, 0.5f, 0.8f}) {
            Annealing annealing(std::vector<float>(1000, fraction - 2), 10);
            int up = 0;
            for (std::uint32_t round = 0; round < 8; ++round) {
                annealing.draw(width, round);
                const std::vector<std::int32_t> below = annealing.below();
                for (std::size_t i = 0; i < below.size(); ++i) {
                    CHECK_EQ(below[i], -2);
                    CHECK(annealing.symbols()[i] == -2 || annealing.symbols()[i] == -1);
                    up += annealing.symbols()[i] + 2;
                }
            }
            const float wanted = std::min(std::max(0.5f + (fraction - 0.5f) / width, 0.0f), 1.0f);
            CHECK(std::abs(static_cast<float>(up) / 8000 - wanted) < 0.01f);
        }
}

TEST(integers_stay_what_they_are_and_halves_go_to_even) {
    Annealing annealing(std::vector<float>{-32767, -3, 0, 7, 32767, 0.5f, 1.5f, -0.5f, -2.5f, 2.25f, -2.75f, 9}, 4);
    annealing.draw(1, 5);
    const std::vector<std::int32_t> wanted{-32767, -3, 0, 7, 32767, 0, 2, 0, -2, 2, -3, 9};
    CHECK(annealing.nearest() == wanted);
    for (const std::size_t i : {0u, 1u, 2u, 3u, 4u, 11u}) CHECK_EQ(annealing.symbols()[i], wanted[i]);
}

TEST(latents_move_against_what_a_step_up_costs) {
    Random random(3);
    const std::vector<float> start = random_floats(random, 64, 4), none(64), curvature(8, 1.0f);
    std::vector<float> slope(64), bits(64);
    for (std::size_t i = 0; i < 64; ++i) (i % 2 == 0 ? slope : bits)[i] = i % 4 < 2 ? 9.0f : -9.0f;
    Annealing annealing(start, 8);
    for (std::uint32_t round = 0; round < 40; ++round) {
        annealing.draw(1, round);
        annealing.move(slope, bits, curvature, kPace);
    }
    for (std::size_t i = 0; i < 64; ++i)
        CHECK(std::abs(static_cast<float>(annealing.nearest()[i]) - start[i] - (i % 4 < 2 ? -10.0f : 10.0f)) < 4);
}

TEST(what_is_no_number_moves_nothing) {
    const std::vector<float> start{1.25f, -7.75f}, curvature(2);
    for (const float wrong : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
        Annealing annealing(start, 2);
        annealing.draw(1, 0);
        annealing.move(std::vector<float>(2, wrong), std::vector<float>(2, -wrong), curvature, kPace);
        CHECK((annealing.nearest() == std::vector<std::int32_t>{1, -8}));
    }
}

TEST(arrays_that_do_not_fit) {
    CHECK_FAULT(usage, "no multiple", Annealing(std::vector<float>(5), 2));
    CHECK_FAULT(usage, "beyond 32767", Annealing(std::vector<float>{0, 32768}, 2));
    CHECK_FAULT(usage, "beyond 32767", Annealing(std::vector<float>{0, std::nanf("")}, 2));
    Annealing annealing(std::vector<float>(6), 2);
    const std::vector<float> five(5), six(6), two(2);
    CHECK_FAULT(usage, "slope has 5 values, not 6", annealing.move(five, six, two, kPace));
    CHECK_FAULT(usage, "bits has 5 values, not 6", annealing.move(six, five, two, kPace));
    CHECK_FAULT(usage, "curvature has 5 values, not 2", annealing.move(six, six, five, kPace));
}

}  // namespace jahp::test
