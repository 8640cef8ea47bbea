// SPDX-License-Identifier: Apache-2.0
#include "core/wavefront.hpp"

#include "tests/check.hpp"

namespace jahp::test {
namespace {

// The step of each position, row by row; -1 where a position is never visited.
std::vector<int> steps_of(int height, int width, int slope) {
    const Wavefront order(height, width, slope);
    std::vector<int> step(static_cast<std::size_t>(height * width), -1);
    std::vector<Position> positions;
    for (int t = 0; t < order.steps(); ++t) {
        order.step(t, positions);
        for (std::size_t i = 0; i < positions.size(); ++i) {
            const auto [r, c] = positions[i];
            CHECK(r >= 0 && r < height && c >= 0 && c < width);
            CHECK(i == 0 || positions[i - 1].row < r || slope == 0);
            CHECK(i == 0 || positions[i - 1].column < c || slope > 0);
            int& seen = step[static_cast<std::size_t>(r * width + c)];
            CHECK_EQ(seen, -1);
            seen = t;
        }
    }
    return step;
}

}  // namespace

TEST(every_position_once_and_after_all_it_sees) {
    for (const int kernel : {3, 5, 7, 9})
        for (int height = 1; height <= 9; ++height)
            for (int width = 1; width <= 9; ++width) {
                const int half = kernel / 2;
                const std::vector<int> step = steps_of(height, width, half + 1);
                const auto at = [&](int r, int c) { return step[static_cast<std::size_t>(r * width + c)]; };
                for (int r = 0; r < height; ++r)
                    for (int c = 0; c < width; ++c) {
                        CHECK(at(r, c) >= 0);
                        for (int dr = -half; dr <= 0; ++dr)
                            for (int dc = -half; dc <= half; ++dc) {
                                const bool causal = dr < 0 || dc < 0,
                                           inside = r + dr >= 0 && c + dc >= 0 && c + dc < width;
                                if (causal && inside) CHECK(at(r + dr, c + dc) < at(r, c));
                            }
                    }
            }
}

TEST(without_context_a_step_is_a_row) {
    for (const int width : {1, 2, 7}) {
        const std::vector<int> step = steps_of(5, width, 0);
        for (int i = 0; i < 5 * width; ++i) CHECK_EQ(step[static_cast<std::size_t>(i)], i / width);
    }
}

TEST(number_of_steps) {
    CHECK_EQ(Wavefront(32, 48, 3).steps(), 141);   // 768x512
    CHECK_EQ(Wavefront(68, 120, 3).steps(), 321);  // 1920x1080
    CHECK_EQ(Wavefront(1, 1, 3).steps(), 1);
    CHECK_EQ(Wavefront(32, 48, 0).steps(), 32);
}

TEST(append_keeps_what_is_there) {
    const Wavefront order(4, 6, 3);
    std::vector<Position> together, one;
    std::size_t count = 0;
    for (int t = 0; t < order.steps(); ++t) {
        order.append(t, together);
        order.step(t, one);
        CHECK_EQ(together.size(), count + one.size());
        for (std::size_t i = 0; i < one.size(); ++i)
            CHECK(together[count + i].row == one[i].row && together[count + i].column == one[i].column);
        count = together.size();
    }
    CHECK_EQ(count, 24u);
}

}  // namespace jahp::test
