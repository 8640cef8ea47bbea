// SPDX-License-Identifier: Apache-2.0
#include "core/transform_net.hpp"

#include <cmath>
#include <limits>

#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

void check(RandomNet& net, int h, int w) {
    const auto inputs = static_cast<std::size_t>(net.layers().front().inputs);
    const auto x = random_floats(net.random(), static_cast<std::size_t>(h * w) * inputs, 1);
    const std::vector<double> want = net.textbook(x, h, w);
    double most = 0;
    for (const double v : want) most = std::max(most, std::abs(v));
    for (const Isa isa : all_isas()) {
        const TransformNet built = net.build(isa);
        const std::vector<float> got = run(built, x, h, w, 1, 0);
        CHECK_EQ(got.size(), want.size());
        CHECK_EQ(built.output_size(h) * built.output_size(w) * built.outputs(), static_cast<int>(got.size()));
        double worst = 0;
        for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i)
            worst = std::max(worst, std::abs(got[i] - want[i]));
        CHECK(worst <= 1e-5 * most);
        if (!(worst <= 1e-5 * most))
            std::cout << "  " << isa_name(isa) << ' ' << h << 'x' << w << ": " << worst << " of " << most << '\n';
        for (const int strip : {1, 3, 8}) CHECK(run(built, x, h, w, 1 + strip / 3, strip) == got);
    }
}

}  // namespace

TEST(single_layers_against_the_textbook) {
    std::uint32_t seed = 1;
    for (const auto& [h, w] : {std::pair{1, 1}, {2, 3}, {4, 4}, {5, 9}, {17, 7}, {1, 40}, {13, 1}})
        for (const auto& [in, out] : {std::pair{3, 24}, {8, 8}, {20, 37}, {37, 3}, {5, 6}, {16, 64}}) {
            check(RandomNet(++seed).conv(in, out, 5, 2, After::gdn), h, w);
            check(RandomNet(++seed).deconv(in, out, After::inverse_gdn), h, w);
            check(RandomNet(++seed).conv(in, out, 3, 1, After::leaky), h, w);
            check(RandomNet(++seed).conv(in, out, 3, 2, After::relu), h, w);
            check(RandomNet(++seed).conv(in, out, 1, 1, After::nothing), h, w);
            check(RandomNet(++seed).deconv(in, out, After::leaky), h, w);
            check(RandomNet(++seed).conv(in, out, 5, 2, After::relu), h, w);
        }
}

TEST(the_published_widths) {
    check(RandomNet(1).conv(96, 192, 5, 2, After::gdn), 9, 11);
    check(RandomNet(2).deconv(192, 64, After::inverse_gdn), 5, 6);
    check(RandomNet(3).deconv(320, 192, After::inverse_gdn), 3, 4);
    check(RandomNet(4).deconv(192, 3, After::nothing), 6, 50);
    check(RandomNet(5).conv(192, 192, 3, 1, After::leaky), 6, 5);
}

TEST(chains_by_strips_and_threads) {
    RandomNet g_a(1), g_s(2);
    g_a.conv(3, 16, 5, 2, After::gdn)
        .conv(16, 16, 5, 2, After::gdn)
        .conv(16, 16, 5, 2, After::gdn)
        .conv(16, 24, 5, 2, After::nothing);
    g_s.deconv(24, 16, After::inverse_gdn)
        .deconv(16, 16, After::inverse_gdn)
        .deconv(16, 16, After::inverse_gdn)
        .deconv(16, 3, After::nothing);
    check(g_a, 145, 83);
    check(g_s, 11, 7);
    for (RandomNet* net : {&g_a, &g_s}) {
        const int h = net == &g_a ? 208 : 13, w = net == &g_a ? 48 : 40;  // more rows than the buffers hold
        const auto x = random_floats(net->random(), static_cast<std::size_t>(h * w * net->layers().front().inputs), 1);
        for (const Isa isa : all_isas()) {
            const TransformNet built = net->build(isa);
            const std::vector<float> whole = run(built, x, h, w, 1, 0);
            for (int threads = 1; threads <= 8; ++threads)
                CHECK(run(built, x, h, w, threads, 5 * threads - 4) == whole);
        }
    }
}

TEST(an_output_depends_on_its_own_inputs_alone) {
    // The upper left of a larger map, up to where the border is felt.
    RandomNet net(3);
    net.deconv(16, 16, After::inverse_gdn).deconv(16, 3, After::nothing);
    const int h = 21, w = 30, less = 9;
    const auto x = random_floats(net.random(), static_cast<std::size_t>(h * w * 16), 1);
    std::vector<float> part;
    for (int r = 0; r < less; ++r) part.insert(part.end(), x.begin() + r * w * 16, x.begin() + (r * w + less) * 16);
    for (const Isa isa : all_isas()) {
        const TransformNet built = net.build(isa);
        const auto whole = run(built, x, h, w, 2, 0), some = run(built, part, less, less, 1, 2);
        for (int r = 0; r < 4 * (less - 5); ++r)
            for (int i = 0; i < 4 * (less - 5) * 3; ++i)
                CHECK_EQ(some[static_cast<std::size_t>(r * 4 * less * 3 + i)],
                         whole[static_cast<std::size_t>(r * 4 * w * 3 + i)]);
    }
}

TEST(local_gains_against_the_textbook) {
    // 16 channels lie as the kernels have them, 20 and 37 do not; 5 channels take the overlap-add and the direct form.
    for (const int channels : {16, 20, 37, 5}) {
        RandomNet g_s(1), adjoint(2);
        g_s.deconv(24, channels, After::inverse_gdn)
            .deconv(channels, channels, After::inverse_gdn)
            .deconv(channels, 3, After::nothing);
        adjoint.conv(3, channels, 5, 2, After::local)
            .conv(channels, channels, 5, 2, After::local)
            .conv(channels, 24, 5, 2, After::nothing);
        const int h = 9, w = 13;
        const auto y = random_floats(g_s.random(), static_cast<std::size_t>(h * w * 24), 1);
        const auto error = random_floats(adjoint.random(), static_cast<std::size_t>(64 * h * w * 3), 1);
        TextbookTrace book;
        g_s.textbook(y, h, w, book);
        const std::vector<double> want = adjoint.textbook(error, 8 * h, 8 * w, book);
        double most = 0;
        for (const double v : want) most = std::max(most, std::abs(v));
        for (const Isa isa : all_isas()) {
            const TransformNet there = g_s.build(isa), back = adjoint.build(isa);
            const std::vector<float> plain = run(there, y, h, w, 1, 0);
            std::vector<float> first;
            for (const auto& [threads, strip] : {std::pair{1, 0}, {1, 1}, {2, 3}, {4, 8}}) {
                GainTrace trace;
                CHECK(run(there, y, h, w, threads, strip, &trace) == plain);  // a trace changes nothing
                const std::vector<float> got = run(back, error, 8 * h, 8 * w, threads, 5 * strip, &trace);
                double worst = 0;
                for (std::size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
                CHECK(worst <= 1e-5 * most);
                for (std::size_t i = 0; i < 2; ++i) {
                    const std::vector<float>& squares = trace.levels()[i].all_squares();
                    CHECK_EQ(squares.size(), book.squares[1 - i].size());
                    for (std::size_t p = 0; p < squares.size(); ++p)
                        CHECK(std::abs(squares[p] - book.squares[1 - i][p]) <= 1e-5 * book.squares[1 - i][p]);
                }
                if (first.empty()) first = got;
                CHECK(got == first);
            }
        }
    }
}

TEST(a_trace_of_two_streams_side_by_side) {
    // Rows go back as soon as they have come: all that is kept is what the adjoint has not read.
    RandomNet g_s(3), adjoint(4);
    g_s.deconv(16, 16, After::inverse_gdn).deconv(16, 3, After::nothing);
    adjoint.conv(3, 16, 5, 2, After::local).conv(16, 16, 5, 2, After::nothing);
    const TransformNet there = g_s.build(best_isa()), back = adjoint.build(best_isa());
    const int h = 200, w = 48;
    const auto y = random_floats(g_s.random(), static_cast<std::size_t>(h * w * 16), 1);
    GainTrace whole;
    const std::vector<float> decoded = run(there, y, h, w, 1, 0, &whole);
    const std::vector<float> want = run(back, decoded, 4 * h, 4 * w, 1, 0, &whole);
    GainTrace trace;
    TransformStream forward(there, h, w, &trace), backward(back, 4 * h, 4 * w, &trace);
    std::vector<float> got, rows;
    for (int r = 0; r < h; r += 4) {
        rows.clear();
        forward.push(std::span(y).subspan(static_cast<std::size_t>(r * w * 16), 4 * 16 * 48), 2, rows);
        backward.push(rows, 2, got);
    }
    forward.finish();
    backward.finish();
    CHECK(got == want);
    CHECK_EQ(trace.levels()[0].rows(), 2 * h);
}

TEST(traces_that_do_not_fit) {
    const Isa isa = best_isa();
    const TransformNet there = RandomNet(1).deconv(8, 16, After::inverse_gdn).deconv(16, 3, After::nothing).build(isa);
    const TransformNet back = RandomNet(2).conv(3, 16, 5, 2, After::local).conv(16, 8, 5, 2, After::nothing).build(isa);
    GainTrace trace;
    CHECK_FAULT(usage, "a local gain needs a trace", TransformStream(back, 12, 12));
    CHECK_FAULT(usage, "no other is left", TransformStream(back, 12, 12, &trace));
    TransformStream forward(there, 3, 3, &trace);
    CHECK_FAULT(usage, "a local gain of 8x6 of 16 channels meets the trace of 6x6 of 16 channels",
                TransformStream(back, 12, 16, &trace));
    TransformStream backward(back, 12, 12, &trace);
    std::vector<float> out;
    CHECK_FAULT(usage, "of a trace is needed, which has 0 rows so far",
                backward.push(std::vector<float>(12 * 12 * 3), 1, out));
    CHECK_FAULT(usage, "no other is left", TransformStream(back, 12, 12, &trace));
    RandomNet broken(3);
    broken.conv(8, 16, 5, 2, After::local);
    broken.layers().front().steady = broken.layers().front().steady.first(7);
    CHECK_FAULT(model, "a local gain does not have", broken.build(isa));
}

TEST(extremes_stay_values) {
    RandomNet net(4);
    net.deconv(16, 16, After::inverse_gdn).deconv(16, 16, After::inverse_gdn).deconv(16, 3, After::nothing);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float extreme :
         {1e30f, -1e38f, 32767.0f * 65536, infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), 1e-42f}) {
        std::vector<float> x(6 * 6 * 16);
        for (std::size_t i = 0; i < x.size(); i += 7) x[i] = extreme;
        for (const Isa isa : all_isas()) CHECK_EQ(run(net.build(isa), x, 6, 6, 2, 1).size(), std::size_t{48 * 48 * 3});
    }
}

TEST(bf16_is_near_and_the_same_by_strips_and_threads) {
    RandomNet g_a(1), g_s(2);
    g_a.conv(3, 16, 5, 2, After::gdn).conv(16, 37, 5, 2, After::gdn).conv(37, 24, 5, 2, After::nothing);
    g_s.deconv(24, 37, After::inverse_gdn).deconv(37, 16, After::inverse_gdn).deconv(16, 3, After::nothing);
    if (!cpu_has_bf16()) {
        CHECK_FAULT(usage, "this CPU lacks", TransformNet(g_a.layers(), best_isa(), Precision::bf16));
        std::cout << "  skipped: this CPU lacks AVX512-BF16\n";
        return;
    }
    CHECK_FAULT(usage, "held at scalar", TransformNet(g_a.layers(), Isa::scalar, Precision::bf16));
    for (RandomNet* net : {&g_a, &g_s}) {
        const int h = net == &g_a ? 144 : 13, w = net == &g_a ? 48 : 40;
        const auto x = random_floats(net->random(), static_cast<std::size_t>(h * w * net->layers().front().inputs), 1);
        const TransformNet built(net->layers(), best_isa(), Precision::bf16);
        const std::vector<float> whole = run(built, x, h, w, 1, 0), exact = run(net->build(best_isa()), x, h, w, 1, 0);
        double most = 0, worst = 0;
        for (std::size_t i = 0; i < whole.size(); ++i) {
            most = std::max(most, std::abs(double{exact[i]}));
            worst = std::max(worst, std::abs(double{exact[i]} - whole[i]));
        }
        CHECK(worst < 0.05 * most);
        CHECK(worst > 1e-4 * most);  // or it is not bf16
        for (int threads = 1; threads <= 8; ++threads) CHECK(run(built, x, h, w, threads, 5 * threads - 4) == whole);
    }
}

TEST(nets_in_parts_are_those_made_at_once) {
    const auto chain = [](std::uint32_t seed) {
        RandomNet net(seed);
        net.conv(3, 24, 5, 2, After::gdn)
            .deconv(24, 20, After::inverse_gdn)
            .deconv(20, 5, After::inverse_gdn)
            .conv(5, 7, 3, 1, After::leaky);
        return net;
    };
    RandomNet first = chain(1), second = chain(2);
    const auto x = random_floats(first.random(), 37 * 23 * 3, 1);
    for (std::size_t head = 1; head <= 4; ++head) {
        const std::span<const ConvTensors> one(first.layers()), other(second.layers());
        std::vector<ConvTensors> mixed(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(head));
        mixed.insert(mixed.end(), other.begin() + static_cast<std::ptrdiff_t>(head), other.end());
        const auto checked = [&](Isa isa, Precision precision) {
            const TransformNet begun(one.first(head), isa, precision);
            const auto whole = run(TransformNet(one, isa, precision), x, 37, 23, 1, 0);
            CHECK(run(begun.followed_by(one.subspan(head)), x, 37, 23, 2, 5) == whole);
            CHECK(run(begun.followed_by(other.subspan(head)), x, 37, 23, 2, 5) ==
                  run(TransformNet(mixed, isa, precision), x, 37, 23, 1, 0));
            CHECK(run(begun.followed_by(one.subspan(head)), x, 37, 23, 1, 0) == whole);
        };
        for (const Isa isa : all_isas()) checked(isa, Precision::f32);
        if (cpu_has_bf16()) checked(best_isa(), Precision::bf16);
    }
    const TransformNet net = first.build(best_isa());
    CHECK_FAULT(model, "6 input channels; the layer before it has 7",
                net.followed_by(RandomNet(4).conv(6, 7, 3, 1, After::nothing).layers()));
}

TEST(what_is_refused) {
    const Isa isa = best_isa();
    CHECK_FAULT(model, "a transform needs a layer", TransformNet({}, isa));
    CHECK_FAULT(model, "the layer before it has 16",
                RandomNet(1).deconv(8, 16, After::nothing).deconv(8, 3, After::nothing).build(isa));
    const auto broken = [&](auto change) {
        RandomNet net(1);
        net.deconv(8, 16, After::gdn);
        change(net.layers().front());
        net.build(isa);
    };
    CHECK_FAULT(model, "weight and bias differ", broken([](ConvTensors& t) { t.bias = t.bias.first(7); }));
    CHECK_FAULT(model, "weight and bias differ", broken([](ConvTensors& t) { t.weight = t.weight.first(7); }));
    CHECK_FAULT(model, "gamma and beta", broken([](ConvTensors& t) { t.beta = {}; }));
    CHECK_FAULT(model, "gamma and beta", broken([](ConvTensors& t) { t.gamma = t.gamma.first(16); }));
    CHECK_FAULT(model, "a kernel of 3 with stride 2", broken([](ConvTensors& t) { t.kernel = 3; }));
    CHECK_FAULT(model, "a kernel of 7", broken([](ConvTensors& t) {
                    t.transposed = false;
                    t.kernel = 7;
                }));
    CHECK_FAULT(model, "channels", broken([](ConvTensors& t) { t.inputs = 0; }));
    const TransformNet net = RandomNet(1).deconv(8, 16, After::gdn).build(isa);
    CHECK_FAULT(usage, "impossible", TransformStream(net, 0, 4));
    CHECK_FAULT(usage, "impossible", TransformStream(net, 4, (1 << 20) + 1));
    TransformStream stream(net, 3, 2);
    const std::vector<float> rows(4 * 2 * 8);
    std::vector<float> out;
    CHECK_FAULT(usage, "threads", stream.push(rows, 0, out));
    CHECK_FAULT(usage, "more than the 3 rows", stream.push(rows, 1, out));
    CHECK_FAULT(usage, "rows of 16 values", stream.push(std::span(rows).first(5), 1, out));
    stream.push(std::span(rows).first(32), 1, out);
    CHECK_FAULT(usage, "1 of the 3 rows of the map are missing", stream.finish());
    CHECK_FAULT(usage, "more than the 3 rows", stream.push(std::span(rows).first(32), 1, out));
    stream.push(std::span(rows).first(16), 1, out);
    stream.finish();
    CHECK_EQ(out.size(), std::size_t{6 * 4 * 16});
}

}  // namespace jahp::test
