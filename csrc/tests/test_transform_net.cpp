// SPDX-License-Identifier: Apache-2.0
#include "core/transform_net.hpp"

#include "core/crc32c.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

using enum Activation;

std::size_t count(int h, int w, int channels) {
    return static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * static_cast<std::size_t>(channels);
}

void check(RandomNet& net, int h, int w) {
    const auto x = random_activations(net.random(), count(h, w, net.layers().front().inputs), 9000);
    const std::vector<std::int64_t> want = net.textbook(x, h, w);
    for (const Isa isa : available_isas()) {
        const TransformNet built = net.build(isa);
        CHECK_EQ(count(built.output_size(h), built.output_size(w), built.outputs()), want.size());
        CHECK(widened(run(built, x, h, w, 1, 0)) == want);
        for (const int strip : {1, 3, 8}) CHECK(widened(run(built, x, h, w, 1 + strip / 3, strip)) == want);
    }
}

RandomNet small_g_a(std::uint32_t seed) {
    RandomNet net(seed);
    net.conv(3, 16, 5, 2, gdn).conv(16, 16, 5, 2, gdn).conv(16, 16, 5, 2, gdn).conv(16, 24, 5, 2, none);
    return net;
}

RandomNet small_g_s(std::uint32_t seed) {
    RandomNet net(seed);
    net.deconv(24, 16, inverse_gdn).deconv(16, 16, inverse_gdn).deconv(16, 16, inverse_gdn).deconv(16, 3, pixels);
    return net;
}

}  // namespace

TEST(single_layers_against_the_textbook) {
    std::uint32_t seed = 1;
    for (const Weights weights : {Weights::small, Weights::large})
        for (const auto& [h, w] : {std::pair{1, 1}, {2, 3}, {4, 4}, {5, 9}, {17, 7}, {1, 40}, {13, 1}})
            for (const auto& [in, out] : {std::pair{3, 24}, {8, 8}, {20, 37}, {37, 3}, {5, 6}, {16, 64}}) {
                const auto net = [&] { return RandomNet(++seed, weights); };
                check(net().conv(in, out, 5, 2, gdn), h, w);
                check(net().deconv(in, out, inverse_gdn), h, w);
                check(net().conv(in, out, 3, 1, leaky_relu), h, w);
                check(net().conv(in, out, 3, 2, relu), h, w);
                check(net().conv(in, out, 1, 1, none), h, w);
                check(net().deconv(in, out, leaky_relu), h, w);
                check(net().deconv(in, out, pixels), h, w);
                check(net().deconv(in, out, none), h, w);
                check(net().conv(in, out, 5, 2, relu), h, w);
                check(net().conv(in, out, 5, 2, none), h, w);
            }
}

TEST(the_published_widths) {
    check(RandomNet(1).conv(96, 192, 5, 2, gdn), 9, 11);
    check(RandomNet(2).deconv(192, 64, inverse_gdn), 5, 6);
    check(RandomNet(3).deconv(320, 192, inverse_gdn), 3, 4);
    check(RandomNet(4).deconv(192, 3, pixels), 6, 150);
    check(RandomNet(5).conv(192, 192, 3, 1, leaky_relu), 6, 5);
    check(RandomNet(6, Weights::large).deconv(192, 64, inverse_gdn), 5, 6);
    check(RandomNet(7, Weights::large).conv(192, 64, 5, 2, gdn), 7, 6);
}

// Weights that are as large as they can be in Winograd's form, in every place of a filter in turn, and a bit more.
TEST(weights_at_the_edge_of_winograds_form) {
    for (const bool transposed : {false, true})
        for (const int least : {0, 1})
            for (const int most : {2047, 2048, 8191, 8192, 32767}) {
                RandomNet net(1);
                transposed ? net.deconv(8, 8, relu) : net.conv(8, 8, 5, 2, relu);
                std::vector<std::int16_t> weight(8 * 8 * 25);
                for (std::size_t i = 0; i < weight.size(); ++i)
                    if (i % 25 % 2 == 0 || least == 0)
                        weight[i] = static_cast<std::int16_t>(i % 3 == 0 ? -most : i % 7 == 0 ? most - 1 : most);
                net.layers().front().weight = weight;
                check(net, 5, 6);
            }
}

TEST(chains_by_strips_and_threads) {
    RandomNet g_a = small_g_a(1), g_s = small_g_s(2);
    check(g_a, 145, 83);
    check(g_s, 11, 7);
    for (RandomNet* net : {&g_a, &g_s}) {
        const int h = net == &g_a ? 208 : 13, w = net == &g_a ? 48 : 40;  // more rows than the buffers hold
        const auto x = random_activations(net->random(), count(h, w, net->layers().front().inputs));
        const OutputValues whole = run(net->build(Isa::scalar), x, h, w, 1, 0);
        for (const Isa isa : available_isas()) {
            const TransformNet built = net->build(isa);
            CHECK(run(built, x, h, w, 1, 0) == whole);
            for (int threads = 1; threads <= 8; ++threads)
                CHECK(run(built, x, h, w, threads, 5 * threads - 4) == whole);
        }
    }
}

// What the reference gives, on every machine and with every compiler.
TEST(digests) {
    const auto digest = [](const OutputValues& out) {
        std::vector<std::uint8_t> bytes;
        for (const std::int64_t v : widened(out))
            for (int i = 0; i < 32; i += 8)
                bytes.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(v) >> i));
        return crc32c(bytes);
    };
    for (const Isa isa : available_isas()) {
        RandomNet g_a = small_g_a(5), g_s = small_g_s(6);
        const auto x = random_activations(g_a.random(), count(64, 80, 3)),
                   y = random_activations(g_s.random(), count(5, 6, 24));
        CHECK_EQ(digest(run(g_a.build(isa), x, 64, 80, 2, 7)), 734148905u);
        CHECK_EQ(digest(run(g_s.build(isa), y, 5, 6, 2, 2)), 1714407338u);
    }
}

TEST(an_output_depends_on_its_own_inputs_alone) {
    // The upper left of a larger map, up to where the border is felt.
    RandomNet net(3);
    net.deconv(16, 16, inverse_gdn).deconv(16, 3, pixels);
    const int h = 21, w = 30, less = 9;
    const auto x = random_activations(net.random(), count(h, w, 16));
    std::vector<std::int16_t> part;
    for (int r = 0; r < less; ++r) part.insert(part.end(), x.begin() + r * w * 16, x.begin() + (r * w + less) * 16);
    for (const Isa isa : available_isas()) {
        const TransformNet built = net.build(isa);
        const auto whole = widened(run(built, x, h, w, 2, 0)), some = widened(run(built, part, less, less, 1, 2));
        for (int r = 0; r < 4 * (less - 5); ++r)
            for (int i = 0; i < 4 * (less - 5) * 3; ++i)
                CHECK_EQ(some[static_cast<std::size_t>(r * 4 * less * 3 + i)],
                         whole[static_cast<std::size_t>(r * 4 * w * 3 + i)]);
    }
}

TEST(local_gains_against_the_textbook) {
    // 16 channels lie as the kernels have them, 20 and 37 do not; 5 channels take other forms.
    for (const int channels : {16, 20, 37, 5}) {
        RandomNet g_s(1), adjoint(2);
        g_s.deconv(24, channels, inverse_gdn).deconv(channels, channels, inverse_gdn).deconv(channels, 3, pixels);
        adjoint.conv(3, channels, 5, 2, local).conv(channels, channels, 5, 2, local).conv(channels, 24, 5, 2, none);
        const int h = 9, w = 13;
        const auto y = random_activations(g_s.random(), count(h, w, 24)),
                   error = random_activations(adjoint.random(), count(8 * h, 8 * w, 3));
        TextbookTrace book;
        g_s.textbook(y, h, w, book);
        const std::vector<std::int64_t> want = adjoint.textbook(error, 8 * h, 8 * w, book);
        for (const Isa isa : available_isas()) {
            const TransformNet there = g_s.build(isa), back = adjoint.build(isa);
            const OutputValues plain = run(there, y, h, w, 1, 0);
            for (const auto& [threads, strip] : {std::pair{1, 0}, {1, 1}, {2, 3}, {4, 8}}) {
                GainTrace trace(false);
                CHECK(run(there, y, h, w, threads, strip, &trace) == plain);  // a trace changes nothing
                CHECK(widened(run(back, error, 8 * h, 8 * w, threads, 5 * strip, &trace)) == want);
                for (std::size_t i = 0; i < 2; ++i) {
                    const std::vector<std::uint32_t>& squares = trace.levels()[i].all_squares();
                    const std::vector<std::int64_t>& known = book.squares[1 - i];
                    CHECK(std::equal(squares.begin(), squares.end(), known.begin(), known.end(),
                                     [](std::int64_t a, std::int64_t b) { return a == b; }));
                }
            }
        }
    }
}

TEST(a_trace_of_two_streams_side_by_side) {
    // Rows go back as soon as they have come: all that is kept is what the adjoint has not read.
    RandomNet g_s(3), adjoint(4);
    g_s.deconv(16, 16, inverse_gdn).deconv(16, 3, relu);
    adjoint.conv(3, 16, 5, 2, local).conv(16, 16, 5, 2, none);
    const TransformNet there = g_s.build(best_isa()), back = adjoint.build(best_isa());
    const int h = 200, w = 48;
    const auto y = random_activations(g_s.random(), count(h, w, 16));
    const auto shorts = [](const OutputValues& out) { return std::get<std::vector<std::int16_t>>(out); };
    GainTrace whole(false);
    const OutputValues decoded = run(there, y, h, w, 1, 0, &whole);
    const OutputValues want = run(back, shorts(decoded), 4 * h, 4 * w, 1, 0, &whole);
    GainTrace trace(false);
    TransformStream forward(there, h, w, &trace), backward(back, 4 * h, 4 * w, &trace);
    OutputValues got = back.no_values();
    for (int r = 0; r < h; r += 4) {
        OutputValues rows = there.no_values();
        forward.push(std::span(y).subspan(static_cast<std::size_t>(r * w * 16), 4 * 16 * 48), 2, rows);
        backward.push(shorts(rows), 2, got);
    }
    forward.finish();
    backward.finish();
    CHECK(got == want);
    CHECK_EQ(trace.levels()[0].rows(), 2 * h);
}

TEST(traces_that_do_not_fit) {
    const Isa isa = best_isa();
    const TransformNet there = RandomNet(1).deconv(8, 16, inverse_gdn).deconv(16, 3, pixels).build(isa);
    const TransformNet back = RandomNet(2).conv(3, 16, 5, 2, local).conv(16, 8, 5, 2, none).build(isa);
    GainTrace trace(false);
    CHECK_FAULT(usage, "a local gain needs a trace", TransformStream(back, 12, 12));
    CHECK_FAULT(usage, "no other is left", TransformStream(back, 12, 12, &trace));
    TransformStream forward(there, 3, 3, &trace);
    CHECK_FAULT(usage, "a local gain of 8x6 of 16 channels meets the trace of 6x6 of 16 channels",
                TransformStream(back, 12, 16, &trace));
    TransformStream backward(back, 12, 12, &trace);
    OutputValues out = back.no_values();
    CHECK_FAULT(usage, "of a trace is needed, which has 0 rows so far",
                backward.push(std::vector<std::int16_t>(12 * 12 * 3), 1, out));
    CHECK_FAULT(usage, "no other is left", TransformStream(back, 12, 12, &trace));
}

TEST(nets_in_parts_are_those_made_at_once) {
    const auto chain = [](std::uint32_t seed) {
        RandomNet net(seed);
        net.conv(3, 24, 5, 2, gdn).deconv(24, 20, inverse_gdn).deconv(20, 5, inverse_gdn).conv(5, 7, 3, 1, leaky_relu);
        return net;
    };
    RandomNet first = chain(1), second = chain(2);
    const auto x = random_activations(first.random(), 37 * 23 * 3);
    for (std::size_t head = 1; head <= 4; ++head) {
        const std::span<const ConvTensors> one(first.layers()), other(second.layers());
        std::vector<ConvTensors> mixed(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(head));
        mixed.insert(mixed.end(), other.begin() + static_cast<std::ptrdiff_t>(head), other.end());
        for (const Isa isa : available_isas()) {
            const TransformNet begun(one.first(head), isa);
            const OutputValues whole = run(TransformNet(one, isa), x, 37, 23, 1, 0);
            CHECK(run(begun.followed_by(one.subspan(head)), x, 37, 23, 2, 5) == whole);
            CHECK(run(begun.followed_by(other.subspan(head)), x, 37, 23, 2, 5) ==
                  run(TransformNet(mixed, isa), x, 37, 23, 1, 0));
            CHECK(run(begun.followed_by(one.subspan(head)), x, 37, 23, 1, 0) == whole);
        }
    }
    const TransformNet net = first.build(best_isa());
    CHECK_FAULT(model, "6 input channels; the layer before it has 7",
                net.followed_by(RandomNet(4).conv(6, 7, 3, 1, relu).layers()));
}

TEST(layers_that_are_refused) {
    const Isa isa = best_isa();
    CHECK_FAULT(model, "a transform needs a layer", TransformNet({}, isa));
    CHECK_FAULT(model, "the layer before it has 16", RandomNet(1).deconv(8, 16, relu).deconv(8, 3, none).build(isa));
    for (const Activation last : {none, pixels})
        CHECK_FAULT(model, "gives no activations, but pixels or sums",
                    RandomNet(1).deconv(8, 16, last).deconv(16, 3, none).build(isa));
    const auto broken = [&](Activation activation, auto change) {
        RandomNet net(1);
        net.deconv(8, 16, activation);
        change(net.layers().front());
        net.build(isa);
    };
    CHECK_FAULT(model, "weight, bias and shift differ", broken(gdn, [](ConvTensors& t) { t.bias = t.bias.first(7); }));
    CHECK_FAULT(model, "weight, bias and shift differ",
                broken(gdn, [](ConvTensors& t) { t.weight = t.weight.first(7); }));
    CHECK_FAULT(model, "weight, bias and shift differ", broken(gdn, [](ConvTensors& t) { t.shift = {}; }));
    for (const Activation each : {gdn, inverse_gdn}) {
        CHECK_FAULT(model, "gamma, beta and shift of GDN", broken(each, [](ConvTensors& t) { t.beta = {}; }));
        CHECK_FAULT(model, "gamma, beta and shift of GDN",
                    broken(each, [](ConvTensors& t) { t.gamma = t.gamma.first(16); }));
        CHECK_FAULT(model, "gamma, beta and shift of GDN",
                    broken(each, [](ConvTensors& t) { t.after_shift = t.after_shift.first(3); }));
    }
    CHECK_FAULT(model, "a local gain does not have",
                broken(local, [](ConvTensors& t) { t.steady = t.steady.first(7); }));
    CHECK_FAULT(model, "a kernel of 3 with stride 2", broken(gdn, [](ConvTensors& t) { t.kernel = 3; }));
    CHECK_FAULT(model, "a kernel of 7", broken(gdn, [](ConvTensors& t) {
                    t.transposed = false;
                    t.kernel = 7;
                }));
    CHECK_FAULT(model, "channels", broken(gdn, [](ConvTensors& t) { t.inputs = 0; }));
}

TEST(values_that_are_refused) {
    const auto broken = [&](Activation activation, auto change) {
        RandomNet net(1);
        net.deconv(8, 16, activation);
        change(net.layers().front());
        net.build(best_isa());
    };
    const auto bytes = [](std::uint8_t value) {
        static std::vector<std::uint8_t> kept;
        kept.assign(16, 20);
        kept[11] = value;
        return std::span<const std::uint8_t>(kept);
    };
    CHECK_FAULT(model, "a shift is not 0 to 29", broken(relu, [&](ConvTensors& t) { t.shift = bytes(30); }));
    struct Range {
        Activation activation;
        std::uint8_t bad, good;
        const char* what;
    };
    for (const Range& r : {Range{gdn, 15, 16, "not 16 to 31"},
                           {gdn, 32, 31, "not 16 to 31"},
                           {inverse_gdn, 0, 1, "not 1 to 31"},
                           {inverse_gdn, 32, 31, "not 1 to 31"},
                           {local, 0, 1, "not 1 to 31"},
                           {local, 32, 31, "not 1 to 31"}}) {
        const auto with = [&](std::uint8_t shift) {
            return [&, shift](ConvTensors& t) { t.after_shift = bytes(shift); };
        };
        CHECK_FAULT(model, r.what, broken(r.activation, with(r.bad)));
        broken(r.activation, with(r.good));
    }
    CHECK_FAULT(model, "not 0 to 31", broken(local, [&](ConvTensors& t) { t.varying_shift = bytes(32); }));
    std::vector<std::int16_t> shorts(16 * 16, 1);
    shorts[37] = -1;
    CHECK_FAULT(model, "a local gain is negative", broken(local, [&](ConvTensors& t) {
                    t.steady = std::span<const std::int16_t>(shorts).subspan(30, 16);
                }));
    CHECK_FAULT(model, "could leave 31 bits", broken(gdn, [&](ConvTensors& t) { t.gamma = shorts; }));
    shorts.assign(16 * 16, 0);
    shorts[5 * 16 + 3] = 32767;
    std::vector<std::int32_t> beta(16, 1);
    const auto norms = [&](ConvTensors& t) {
        t.gamma = shorts;
        t.beta = beta;
    };
    beta[5] = 0x7fffffff - 32767 * 65535;
    for (const Activation each : {gdn, inverse_gdn}) broken(each, norms);
    ++beta[5];
    for (const Activation each : {gdn, inverse_gdn}) CHECK_FAULT(model, "could leave 31 bits", broken(each, norms));
    beta[5] = 0;
    CHECK_FAULT(model, "gamma or beta is out of range", broken(inverse_gdn, norms));
}

TEST(norms_at_the_ends_of_their_range) {
    // One channel, gamma 0 or what lets the norm come to 2^31 - 1; every shift there is.
    for (const Activation activation : {gdn, inverse_gdn})
        for (int shift = activation == gdn ? 16 : 1; shift <= 31; ++shift)
            for (const std::int32_t least : {1, 2, 3, 0x7fffffff - 32767 * 65535}) {
                RandomNet net(7);
                net.conv(1, 1, 1, 1, activation);
                const std::vector<std::int16_t> weight{32767}, gamma{static_cast<std::int16_t>(least > 3 ? 32767 : 0)};
                const std::vector<std::int32_t> bias{0}, beta{least};
                const std::vector<std::uint8_t> before{14}, after{static_cast<std::uint8_t>(shift)};
                ConvTensors& t = net.layers().front();
                t.weight = weight;
                t.bias = bias;
                t.shift = before;
                t.gamma = gamma;
                t.beta = beta;
                t.after_shift = after;
                check(net, 11, 13);
            }
}

TEST(streams_that_are_refused) {
    const TransformNet net = RandomNet(1).deconv(8, 16, gdn).build(best_isa());
    CHECK_FAULT(usage, "impossible", TransformStream(net, 0, 4));
    CHECK_FAULT(usage, "impossible", TransformStream(net, 4, (1 << 20) + 1));
    TransformStream stream(net, 3, 2);
    const std::vector<std::int16_t> rows(4 * 2 * 8);
    OutputValues out = net.no_values();
    CHECK_FAULT(usage, "threads", stream.push(rows, 0, out));
    CHECK_FAULT(usage, "more than the 3 rows", stream.push(rows, 1, out));
    CHECK_FAULT(usage, "rows of 16 values", stream.push(std::span(rows).first(5), 1, out));
    stream.push(std::span(rows).first(32), 1, out);
    CHECK_FAULT(usage, "1 of the 3 rows of the map are missing", stream.finish());
    CHECK_FAULT(usage, "more than the 3 rows", stream.push(std::span(rows).first(32), 1, out));
    stream.push(std::span(rows).first(16), 1, out);
    stream.finish();
    CHECK_EQ(widened(out).size(), std::size_t{6 * 4 * 16});
}

}  // namespace jahp::test
