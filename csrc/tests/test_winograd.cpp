// SPDX-License-Identifier: Apache-2.0
#include "simd/winograd.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

constexpr std::int16_t kUntouched = 12345;

// Samples that a point adds up, by the definition; of the other seven, those that stand apart.
constexpr int kOfFour[7][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1},
                               {0, 1, -1, 0}, {0, 0, 1, 0}, {0, 0, 1, -1}};
constexpr int kOfSeven[7][7] = {{1, 0, 0, 0, -1, 0, 0}, {0, 0, 1, 0, 1, 0, 0},  {0, 0, -1, 0, 1, 0, 0},
                                {0, 0, 1, 0, 0, 0, -1}, {0, 1, 0, -1, 0, 0, 0}, {0, 0, 0, 1, 0, 0, 0},
                                {0, 0, 0, 1, 0, -1, 0}};
// Of an output, the points of 3 taps and of 2.
constexpr int kOut[2][7] = {{1, 1, 1, 0, 1, 1, 0}, {0, 1, -1, -1, 0, 1, -1}};

int factor(int samples, int point, int sample) {
    return samples == 4 ? kOfFour[point][sample] : kOfSeven[point][sample];
}

std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }

}  // namespace

TEST(inputs_by_the_definition) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const int samples : {4, 7})
            for (const int channels : {16, 48, 64})
                for (const bool extreme : {false, true}) {
                    const std::ptrdiff_t step = channels + 16, stride = channels + 5;
                    std::vector<std::vector<std::int16_t>> d;
                    std::vector<const std::int16_t*> rows;
                    for (int i = 0; i < samples; ++i) {
                        d.push_back(random_activations(random, at(samples * step)));
                        for (std::int16_t& v : d.back())
                            if (extreme) v = v < 0 ? -8191 : 8191;
                    }
                    for (const auto& row : d) rows.push_back(row.data());
                    std::vector<std::int16_t> out(at(49 * stride), kUntouched);
                    winograd_for(isa).input({rows.data(), step, samples, channels, out.data(), stride});
                    for (int i = 0; i < 7; ++i)
                        for (int j = 0; j < 7; ++j) {
                            for (int c = 0; c < channels; ++c) {
                                int want = 0;
                                for (int r = 0; r < samples; ++r)
                                    for (int s = 0; s < samples; ++s)
                                        want += factor(samples, i, r) * factor(samples, j, s) *
                                                d[at(r)][at(s * step + c)];
                                CHECK_EQ(out[at((i * 7 + j) * stride + c)], want);
                            }
                            for (int c = channels; c < stride; ++c)
                                CHECK_EQ(out[at((i * 7 + j) * stride + c)], kUntouched);
                        }
                }
}

namespace {

template <typename Out>
void check_outputs(void (*output)(const WinogradOutput<Out>&), std::int32_t limit, bool leaky, Random& random) {
    for (const int pv : {3, 4})
        for (const int ph : {3, 4})
            for (int rows_valid = 0; rows_valid <= 2; ++rows_valid)
                for (int columns_valid = 1; columns_valid <= 2; ++columns_valid) {
                    const int channels = 48;
                    const std::ptrdiff_t stride = channels + 7, step = 2 * channels;
                    const auto m = random.many<std::int32_t>(at(pv * ph * stride), -(std::int64_t{1} << 31),
                                                             0x7fffffff),
                               offset = random.many<std::int32_t>(at(channels), -(std::int64_t{1} << 31), 0x7fffffff),
                               shift = random.many<std::int32_t>(at(channels), 2, 31);
                    const std::int32_t low = leaky ? kLeakyLow : -limit;
                    const FinishTable table{offset.data(), shift.data(), low, limit, leaky};
                    std::vector<std::vector<Out>> y(2, std::vector<Out>(at(2 * step), kUntouched));
                    Out* rows[2] = {y[0].data(), y[1].data()};
                    output({m.data(), stride, pv, ph, channels, &table, rows, step, rows_valid, columns_valid});
                    for (int i = 0; i < 2; ++i)
                        for (int x = 0; x < 2 * step; ++x) {
                            const int j = static_cast<int>(x / step), c = static_cast<int>(x % step);
                            if (i >= rows_valid || j >= columns_valid || c >= channels) {
                                CHECK_EQ(y[at(i)][at(x)], kUntouched);
                                continue;
                            }
                            std::uint32_t sum = 0;
                            for (int r = 0; r < pv; ++r)
                                for (int s = 0; s < ph; ++s)
                                    sum += static_cast<std::uint32_t>(kOut[i][pv == 3 ? 4 + r : r] *
                                                                      kOut[j][ph == 3 ? 4 + s : s]) *
                                           static_cast<std::uint32_t>(m[at((r * ph + s) * stride + c)]);
                            sum *= (pv == 3 ? 2u : 1u) * (ph == 3 ? 2u : 1u);
                            std::int64_t want = static_cast<std::int32_t>(sum +
                                                                          static_cast<std::uint32_t>(offset[at(c)])) >>
                                                shift[at(c)];
                            want = std::clamp<std::int64_t>(want, low, limit);
                            if (leaky && want < 0) want = textbook_shifted(want * 2621, 18);
                            CHECK_EQ(std::int64_t{y[at(i)][at(x)]}, want);
                        }
                }
}

}  // namespace

TEST(outputs_by_the_definition) {
    Random random(2);
    for (const Isa isa : available_isas())
        for (int round = 0; round < 5; ++round) {
            check_outputs(winograd_for(isa).output_i16, 16383, false, random);
            check_outputs(winograd_for(isa).output_i16, 8191, true, random);
            check_outputs(winograd_for(isa).output_i32, 0x7fffffff, false, random);
        }
}

}  // namespace jahp::test
