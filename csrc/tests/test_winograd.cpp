// SPDX-License-Identifier: Apache-2.0
#include "simd/winograd.hpp"

#include <cmath>

#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr double kPoint[] = {0, 1, -1, 2, -2};
constexpr float kUntouched = 12345;

// B^T by its definition: the coefficients of the product of (x - b) over the finite points b but that of the row.
std::vector<double> into_row(int points, int row) {
    std::vector<double> product{1};
    for (int b = 0; b < points - 1; ++b) {
        if (b == row) continue;
        std::vector<double> next(product.size() + 1);
        for (std::size_t i = 0; i < product.size(); ++i) {
            next[i + 1] += product[i];
            next[i] -= kPoint[b] * product[i];
        }
        product = next;
    }
    product.resize(static_cast<std::size_t>(points));
    return product;
}

double out_of(int points, int i, int point) { return point == points - 1 ? i == 3 : std::pow(kPoint[point], i); }

std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }

}  // namespace

TEST(inputs_by_the_definition) {
    Random random(1);
    for (const Isa isa : all_isas())
        for (const int pv : {5, 6})
            for (const int ph : {5, 6})
                for (const int channels : {16, 48}) {
                    const std::ptrdiff_t step = channels + 16, stride = channels + 5;
                    std::vector<std::vector<float>> d;
                    std::vector<const float*> rows;
                    for (int i = 0; i < pv; ++i) d.push_back(random_floats(random, at(ph * step), 1));
                    for (const auto& row : d) rows.push_back(row.data());
                    std::vector<float> out(at(pv * ph * stride), kUntouched);
                    winograd_for(isa).input({rows.data(), step, pv, ph, channels, out.data(), stride});
                    for (int i = 0; i < pv; ++i)
                        for (int j = 0; j < ph; ++j) {
                            const auto down = into_row(pv, i), right = into_row(ph, j);
                            for (int c = 0; c < channels; ++c) {
                                double want = 0;
                                for (int r = 0; r < pv; ++r)
                                    for (int s = 0; s < ph; ++s)
                                        want += down[at(r)] * right[at(s)] * d[at(r)][at(s * step + c)];
                                CHECK(std::abs(out[at((i * ph + j) * stride + c)] - want) <
                                      3e-5);  // sums of |B| are up to 10 each way
                            }
                            for (int c = channels; c < stride; ++c)
                                CHECK_EQ(out[at((i * ph + j) * stride + c)], kUntouched);
                        }
                }
}

TEST(outputs_by_the_definition) {
    Random random(2);
    for (const Isa isa : all_isas())
        for (const int pv : {5, 6})
            for (const int ph : {5, 6})
                for (int rows_valid = 0; rows_valid <= 4; ++rows_valid)
                    for (int columns_valid = 1; columns_valid <= 4; ++columns_valid) {
                        const int channels = 32;
                        const std::ptrdiff_t stride = channels + 7, step = 2 * channels;
                        const auto m = random_floats(random, at(pv * ph * stride), 1),
                                   bias = random_floats(random, at(channels), 1);
                        const float slope = rows_valid % 2 == 0 ? 1.0f : 0.25f;
                        std::vector<std::vector<float>> y(4, std::vector<float>(at(4 * step), kUntouched));
                        std::vector<float*> rows;
                        for (auto& row : y) rows.push_back(row.data());
                        winograd_for(isa).output({m.data(), stride, pv, ph, channels, bias.data(), slope, rows.data(),
                                                  step, rows_valid, columns_valid});
                        for (int i = 0; i < 4; ++i)
                            for (int x = 0; x < 4 * step; ++x) {
                                const int j = static_cast<int>(x / step), c = static_cast<int>(x % step);
                                if (i >= rows_valid || j >= columns_valid || c >= channels) {
                                    CHECK_EQ(y[at(i)][at(x)], kUntouched);
                                    continue;
                                }
                                double want = bias[at(c)];
                                for (int r = 0; r < pv; ++r)
                                    for (int s = 0; s < ph; ++s)
                                        want += out_of(pv, i, r) * out_of(ph, j, s) * m[at((r * ph + s) * stride + c)];
                                want = want > 0 ? want : want * slope;
                                CHECK(std::abs(y[at(i)][at(x)] - want) < 1e-4);  // sums of |A| are up to 19 each way
                            }
                    }
}

}  // namespace jahp::test
