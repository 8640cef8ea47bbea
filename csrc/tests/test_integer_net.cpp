// SPDX-License-Identifier: Apache-2.0
#include "core/integer_net.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

// The sums of products of one output pixel, before bias and rounding: [row][column][output].
struct Sums {
    Sums(int h, int w, int outputs) : width(w), channels(outputs), data(static_cast<std::size_t>(h * w * outputs)) {}
    std::int64_t& at(int r, int c, int o) { return data[static_cast<std::size_t>((r * width + c) * channels + o)]; }
    int width, channels;
    std::vector<std::int64_t> data;
};

std::int64_t weight_of(const RandomLayer& l, int o, int i, int ky, int kx) {
    return l.weight[static_cast<std::size_t>(((o * l.inputs + i) * l.kernel + ky) * l.kernel + kx)];
}

// clamp(floor((sum * mul + 2^(shift-1)) / 2^shift) + zero), with a division that has nothing to do with >>.
std::int64_t requantised(const RandomLayer& l, std::int64_t products, int o, std::int64_t limit) {
    const auto i = static_cast<std::size_t>(o);
    const std::int64_t sum = products + l.bias[i];
    const std::int64_t n = sum * (sum < 0 ? l.mul_neg[i] : l.mul_pos[i]) + (std::int64_t{1} << (l.shift[i] - 1));
    const std::int64_t d = std::int64_t{1} << l.shift[i];
    const std::int64_t v = (n >= 0 ? n / d : -((-n + d - 1) / d)) + l.zero[i];
    return v > limit ? limit : v < -limit ? -limit : v;
}

std::int32_t value(const Plane& plane, const IntegerLayer& layer, int r, int c, int i) {
    return layer.kernel().bytes ? plane.at<std::int8_t>(r, c)[i] : plane.at<std::int16_t>(r, c)[i];
}

Plane random_plane(Random& random, int h, int w, int channels, std::int32_t limit, int border,
                   const DotKernel& kernel) {
    Plane plane(h, w, channels, border, kernel);
    for (int r = 0; r < h; ++r) {
        for (int c = 0; c < w; ++c)
            for (int i = 0; i < channels; ++i) {
                const std::int64_t v = random(-limit, limit);
                if (kernel.bytes)
                    plane.at<std::int8_t>(r, c)[i] = static_cast<std::int8_t>(v);
                else
                    plane.at<std::int16_t>(r, c)[i] = static_cast<std::int16_t>(v);
            }
        plane.summarise(r, 0, 1, w, kernel);
    }
    return plane;
}

// All parts of a layer at one position, as 32-bit parameters.
std::vector<std::int32_t> apply(const IntegerLayer& layer, int parts, const Plane& in, int r, int c) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(layer.pitch())), out = sums;
    for (int part = 0; part < parts; ++part) {
        const std::vector<DotGroup> groups = layer.groups(part, in.row_pitch(), in.pitch());
        std::int32_t start = 0;
        for (const Tap& tap : layer.taps(part))
            if (layer.kernel().biased) start += in.sum(r + tap.row, c + tap.column);
        layer.products(part,
                       {in.raw(r, c), in.pitch(), 1, groups.data(), static_cast<int>(groups.size()), nullptr, 0, 0,
                        &start, sums.data(), 0, part > 0},
                       0, layer.blocks());
    }
    layer.requantise(sums.data(), 0, 1, 0, layer.blocks(), out.data(), 0);
    return out;
}

std::int64_t textbook(const RandomLayer& l, const IntegerLayer& layer, const Plane& in, int cells, int r, int c,
                      int o) {
    std::int64_t sum = 0;
    for (int cell = 0; cell < cells; ++cell) {
        const int y = r + cell / l.kernel - l.kernel / 2, x = c + cell % l.kernel - l.kernel / 2;
        if (y < 0 || y >= in.height() || x < 0 || x >= in.width()) continue;
        for (int i = 0; i < l.inputs; ++i)
            sum += weight_of(l, o, i, cell / l.kernel, cell % l.kernel) * value(in, layer, y, x, i);
    }
    return sum;
}

void check_layer(const RandomLayer& l, const IntegerLayer& layer, int parts, const Plane& in, int cells,
                 std::int32_t limit) {
    for (int r = 0; r < in.height(); ++r)
        for (int c = 0; c < in.width(); ++c) {
            const std::vector<std::int32_t> out = apply(layer, parts, in, r, c);
            for (int o = 0; o < l.outputs; ++o)
                CHECK_EQ(out[static_cast<std::size_t>(o)],
                         requantised(l, textbook(l, layer, in, cells, r, c, o), o, limit));
            for (std::size_t o = static_cast<std::size_t>(l.outputs); o < out.size(); ++o) CHECK_EQ(out[o], 0);
        }
}

constexpr int kSizes[][2] = {{1, 1}, {1, 5}, {3, 2}, {4, 7}};

}  // namespace

TEST(convolutions_against_the_textbook) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const std::int32_t limit : {127, 4095})
            for (const int kernel : {1, 3, 5})
                for (const int inputs : {1, 6, 33})
                    for (const auto& size : kSizes) {
                        const RandomLayer l(random, "conv", 21, inputs, kernel, kernel * kernel, limit, limit);
                        const IntegerLayer conv = conv_layer(l.tensors(), limit, limit, isa);
                        const Plane in = random_plane(random, size[0], size[1], inputs, limit, kernel / 2,
                                                      conv.kernel());
                        check_layer(l, conv, 1, in, kernel * kernel, limit);
                        if (kernel == 1) check_layer(l, dense_layer(l.tensors(), limit, limit, isa), 1, in, 1, limit);
                        if (kernel > 1)
                            check_layer(l, masked_layer(l.tensors(), limit, limit, isa), 2, in, kernel * kernel / 2,
                                        limit);
                    }
}

TEST(whole_planes_in_strips) {
    Random random(6);
    for (const Isa isa : available_isas())
        for (const std::int32_t limit : {127, 4095})
            for (const auto& size : {Position{1, 1}, Position{9, 5}, Position{6, 53}})
                for (const int threads : {1, 3}) {
                    const RandomLayer l(random, "conv", 70, 5, 3, 9, limit, limit);
                    const IntegerLayer layer = conv_layer(l.tensors(), limit, limit, isa);
                    const Plane in = random_plane(random, size.row + 1, size.column + 2, 5, limit, 1, layer.kernel());
                    Plane out(size.row, size.column, 70, 2, layer.kernel());  // the upper left only
                    ThreadTeam team(threads);
                    convolve(layer, in, out, {0, size.row / 2}, team);
                    convolve(layer, in, out, {size.row / 2, size.row}, team);
                    for (int r = 0; r < size.row; ++r)
                        for (int c = 0; c < size.column; ++c) {
                            std::int32_t sum = 0;
                            for (int o = 0; o < 70; ++o) {
                                const std::int32_t v = value(out, layer, r, c, o);
                                CHECK_EQ(v, requantised(l, textbook(l, layer, in, 9, r, c, o), o, limit));
                                sum += v;
                            }
                            if (layer.kernel().biased) CHECK_EQ(out.sum(r, c), -128 * sum);
                        }
                }
}

TEST(halves_of_the_outputs_in_turn) {
    Random random(7);
    for (const Isa isa : available_isas())
        for (const int half : {1, 16, 21}) {
            const RandomLayer l(random, "parameters", 2 * half, 9, 1, 1, 127, 1 << 23);
            const IntegerLayer layer = dense_layer(l.tensors(), 127, 1 << 23, isa, BlockOrder::halves);
            const Plane in = random_plane(random, 1, 1, 9, 127, 0, layer.kernel());
            const std::vector<std::int32_t> out = apply(layer, 1, in, 0, 0);
            CHECK_EQ(static_cast<int>(out.size()), (half + 15) / 16 * 32);
            for (int o = 0; o < 2 * half; ++o) {
                const int channel = o % half, block = 2 * (channel / 16) + o / half;
                CHECK_EQ(out[static_cast<std::size_t>(16 * block + channel % 16)],
                         requantised(l, textbook(l, layer, in, 1, 0, 0, o), o, 1 << 23));
            }
        }
}

TEST(transposed_convolution_against_the_scatter_formula) {
    Random random(2);
    for (const Isa isa : available_isas())
        for (const auto& size : kSizes)
            for (const int threads : {1, 3}) {
                const int h = size[0], w = size[1];
                const RandomLayer l(random, "deconv", 5, 3, 5, 6, 127, 127);
                const std::vector<IntegerLayer> phases = transposed_layers(l.tensors(), 127, 127, isa);
                const Plane in = random_plane(random, h, w, 3, 127, 1, phases[0].kernel());
                Sums sums(2 * h, 2 * w, 5);
                for (int r = 0; r < h; ++r)  // input (r, c) adds its weighted kernel around output (2r, 2c)
                    for (int c = 0; c < w; ++c)
                        for (int ky = 0; ky < 5; ++ky)
                            for (int kx = 0; kx < 5; ++kx) {
                                const int y = 2 * r + ky - 2, x = 2 * c + kx - 2;
                                if (y < 0 || y >= 2 * h || x < 0 || x >= 2 * w) continue;
                                for (int o = 0; o < 5; ++o)
                                    for (int i = 0; i < 3; ++i)
                                        sums.at(y, x, o) += weight_of(l, o, i, ky, kx) * value(in, phases[0], r, c, i);
                            }
                ThreadTeam team(threads);
                for (const int cut : {0, 1}) {
                    Plane out(2 * h - cut, 2 * w - cut, 5, 1, phases[0].kernel());
                    const int middle = (h - 1) / 2;  // odd and even
                    convolve_transposed(phases, in, out, {0, middle}, team);
                    convolve_transposed(phases, in, out, {middle, 2 * h - cut}, team);
                    for (int y = 0; y < out.height(); ++y)
                        for (int x = 0; x < out.width(); ++x)
                            for (int o = 0; o < 5; ++o)
                                CHECK_EQ(value(out, phases[0], y, x, o), requantised(l, sums.at(y, x, o), o, 127));
                }
            }
}

TEST(rounding_by_hand) {
    RandomLayer l(*std::make_unique<Random>(3), "by hand", 1, 1, 1, 1, 127, 127);
    l.weight = {1};
    l.bias = {0};
    l.zero = {0};
    l.mul_pos = {1};
    l.mul_neg = {1};
    l.shift = {1};
    const auto at = [&](std::int32_t input, std::int32_t limit = 100) {
        const IntegerLayer layer = dense_layer(l.tensors(), 127, limit, Isa::scalar);
        Plane in(1, 1, 1, 0, layer.kernel());
        in.at<std::int16_t>(0, 0)[0] = static_cast<std::int16_t>(input);  // the scalar kernel's activations
        return apply(layer, 1, in, 0, 0)[0];
    };
    CHECK_EQ(at(1), 1);    // a half rounds up,
    CHECK_EQ(at(-1), 0);   // below zero too
    CHECK_EQ(at(3), 2);
    CHECK_EQ(at(-3), -1);
    CHECK_EQ(at(-4), -2);
    l.mul_neg = {0};  // ReLU
    CHECK_EQ(at(-100), 0);
    l.zero = {-7};
    CHECK_EQ(at(-100), -7);
    CHECK_EQ(at(4), -5);
    CHECK_EQ(at(-100, 3), -3);
    l.bias = {2147483647 - 127};
    l.mul_pos = {2147483647};
    CHECK_EQ(at(127), 100);  // (2^31 - 1)^2 fits 64 bits
}

TEST(tensors_that_do_not_fit) {
    Random random(4);
    const RandomLayer good(random, "layer", 3, 4, 3, 9, 127, 127);
    const auto build = [](const RandomLayer& l) { return conv_layer(l.tensors(), 127, 127, Isa::scalar); };
    const auto changed = [&](auto change) {
        RandomLayer l = good;
        change(l);
        return l;
    };
    build(good);
    CHECK_FAULT(model, "layer: weight has", build(changed([](auto& l) { l.weight.pop_back(); })));
    CHECK_FAULT(model, "weight of -128", build(changed([](auto& l) { l.weight[5] = -128; })));
    CHECK_FAULT(model, "one element an output", build(changed([](auto& l) { l.bias.pop_back(); })));
    CHECK_FAULT(model, "one element an output", build(changed([](auto& l) { l.mul_pos.push_back(1); })));
    CHECK_FAULT(model, "one element an output", build(changed([](auto& l) { l.zero.pop_back(); })));
    CHECK_FAULT(model, "shift is not", build(changed([](auto& l) { l.shift[1] = 0; })));
    CHECK_FAULT(model, "shift is not", build(changed([](auto& l) { l.shift[1] = 63; })));
    CHECK_FAULT(model, "multiplier is negative", build(changed([](auto& l) { l.mul_neg[2] = -1; })));
    CHECK_FAULT(model, "zero is not", build(changed([](auto& l) { l.zero[0] = 4096; })));
    CHECK_FAULT(model, "impossible shape", build(changed([](auto& l) { l.outputs = 0; })));
    const RandomLayer even(random, "even", 3, 4, 4, 16, 127, 127);
    CHECK_FAULT(model, "even kernel", build(even));
    CHECK_FAULT(model, "even kernel", masked_layer(even.tensors(), 127, 127, Isa::scalar));
    CHECK_FAULT(model, "not 1x1", dense_layer(good.tensors(), 127, 127, Isa::scalar));
    CHECK_FAULT(model, "not 5x5", transposed_layers(good.tensors(), 127, 127, Isa::scalar));
}

TEST(sums_at_the_limit_of_31_bits) {
    RandomLayer l(*std::make_unique<Random>(5), "limit", 1, 1, 1, 1, 127, 127);
    l.weight = {-100};
    for (const std::int32_t sign : {1, -1}) {
        l.bias = {sign * (2147483647 - 12700)};
        dense_layer(l.tensors(), 127, 127, Isa::scalar);
        l.bias = {sign * (2147483647 - 12699)};
        CHECK_FAULT(model, "output 0 could overflow", dense_layer(l.tensors(), 127, 127, Isa::scalar));
    }
    l.bias = {-2147483647 - 1};
    CHECK_FAULT(model, "could overflow", dense_layer(l.tensors(), 127, 127, Isa::scalar));
}

}  // namespace jahp::test
