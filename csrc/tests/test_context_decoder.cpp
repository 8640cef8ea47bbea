// SPDX-License-Identifier: Apache-2.0
#include "core/context_decoder.hpp"

#include <optional>

#include "core/symbol_mix.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<ModelShape> shapes() {
    std::vector<ModelShape> out;
    for (const int kind : {0, 1, 2, 3})  // joint, context alone, hyperprior alone, factorised
        for (const Form form : {Form::a, Form::b})
            for (const int bits : {8, 16}) {
                ModelShape s;
                s.hyper = kind == 0 || kind == 2;
                s.context = kind < 2;
                s.form = form;
                s.activation_bits = bits;
                s.prob_bits = bits == 8 ? 15 : 16;
                s.kernel = bits == 8 ? 5 : 3;
                if (!s.factorized() || form == Form::a) out.push_back(s);
            }
    return out;
}

bool same(const Latents& a, const Latents& b) { return a.y == b.y && a.z == b.z; }

// What a decode gave, or nothing if it was refused as damaged. Any other fault is a failure of the test.
std::optional<Latents> attempt(const EntropyModel& model, const Bytes& payload, const StreamLayout& layout,
                               int threads) {
    try {
        return decode_latents(model, payload, layout, threads);
    } catch (const Error& e) {
        CHECK(e.fault() == Fault::format);
        return std::nullopt;
    }
}

}  // namespace

TEST(round_trip_for_every_form_isa_and_thread_count) {
    std::uint32_t seed = 0;
    for (const ModelShape& shape : shapes())
        for (const int skip : {0, 2})
            for (const auto& [height, width] : {Position{1, 1}, Position{5, 9}, Position{9, 2}}) {
                const RandomModel source(shape, ++seed);
                const auto scalar = source.build(Isa::scalar);
                Random random(seed);
                const Latents wanted = random_latents(*scalar, random, height, width, skip == 0 ? 30 : 1 << 30);
                StreamLayout layout{height, width, 0, skip, 0};
                layout.z_row = static_cast<int>(random(0, scalar->tables().rows() - scalar->hyper_latents()));
                Latents seen = wanted;
                const Bytes payload = encode_latents(*scalar, seen, layout, 1);
                CHECK(seen.z == wanted.z);
                if (shape.form == Form::a && skip == 0) CHECK(seen.y == wanted.y);
                for (const Isa isa : available_isas()) {
                    const auto model = source.build(isa);
                    for (int threads = 1; threads <= (width == 9 && skip == 0 ? 8 : 2); ++threads) {
                        Latents again = wanted;
                        StreamLayout chosen = layout;
                        chosen.lanes = 0;
                        CHECK(encode_latents(*model, again, chosen, threads) == payload);
                        CHECK(same(again, seen));
                        CHECK_EQ(chosen.lanes, layout.lanes);
                        CHECK(same(decode_latents(*model, payload, layout, threads), seen));
                    }
                }
            }
}

TEST(copied_positions_are_not_coded) {
    std::uint32_t seed = 50;
    for (const ModelShape& shape : shapes())
        for (const int skip : {0, 2})
            for (const auto& [height, width] : {Position{1, 1}, Position{1, 9}, Position{9, 7}}) {
                const RandomModel source(shape, ++seed);
                const auto scalar = source.build(Isa::scalar);
                Random random(seed);
                const Latents wanted = random_latents(*scalar, random, height, width, skip == 0 ? 30 : 1 << 30);
                StreamLayout layout{height, width, 0, skip, 0};
                layout.copies = random_copies(*scalar, random, height, width);
                Latents seen = wanted;
                const Bytes payload = encode_latents(*scalar, seen, layout, 1);
                const std::size_t hyper = layout.copies.size() - static_cast<std::size_t>(height * width);
                const int m = scalar->latents(), n = scalar->hyper_latents();
                for (std::size_t i = 0; i < layout.copies.size(); ++i) {
                    const bool of_z = i < hyper;
                    const int kind = layout.copies[i], channels = of_z ? n : m,
                              across = of_z ? seen.hyper_width : width;
                    if (kind == 0) continue;
                    const auto at = (of_z ? seen.z : seen.y).begin() +
                                    static_cast<std::ptrdiff_t>(of_z ? i : i - hyper) * channels;
                    CHECK(std::equal(at, at + channels, at - (kind == 1 ? 1 : across) * channels));
                }
                for (const Isa isa : available_isas())
                    for (int threads = 1; threads <= 3; ++threads) {
                        const auto model = source.build(isa);
                        Latents again = wanted;
                        StreamLayout chosen = layout;
                        chosen.lanes = 0;
                        CHECK(encode_latents(*model, again, chosen, threads) == payload);
                        CHECK(same(again, seen));
                        CHECK(same(decode_latents(*model, payload, layout, threads), seen));
                    }
            }
}

TEST(impossible_copies) {
    const auto model = RandomModel(ModelShape{}, 1).build(Isa::scalar);  // z is 1x1 here
    Random random(1);
    Latents latents = random_latents(*model, random, 2, 3, 50);
    const auto encode = [&](std::vector<std::uint8_t> copies) {
        StreamLayout layout{2, 3, 1, 0, 0, std::move(copies)};
        Latents of = latents;
        return encode_latents(*model, of, layout, 1);
    };
    encode({0, 0, 1, 1, 2, 2, 1});
    CHECK_FAULT(usage, "one element a position", encode({0, 0, 1, 1, 2, 2}));
    for (const std::vector<std::uint8_t>& bad : {std::vector<std::uint8_t>{1, 0, 0, 0, 0, 0, 0},
                                                 {2, 0, 0, 0, 0, 0, 0},
                                                 {0, 0, 2, 0, 0, 0, 0},
                                                 {0, 0, 0, 0, 1, 0, 0},
                                                 {0, 0, 0, 0, 0, 3, 0}})
        CHECK_FAULT(usage, "copy of none", encode(bad));
}

TEST(damaged_payloads_end_in_an_error_or_in_what_was_written) {
    std::uint32_t seed = 100;
    for (const ModelShape& shape : shapes()) {
        const auto model = RandomModel(shape, ++seed).build(best_isa());
        Random random(seed);
        Latents latents = random_latents(*model, random, 4, 5, 30);
        StreamLayout layout{4, 5, 2, 0, 0};
        const Bytes good = encode_latents(*model, latents, layout, 1);
        for (std::size_t n = 0; n < good.size(); ++n)
            CHECK(!attempt(*model, Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)), layout, 1));
        for (int i = 0; i < 300; ++i) {
            Bytes bad = good;
            for (std::int64_t changes = random(1, 3); changes > 0; --changes)
                bad[static_cast<std::size_t>(
                    random(0, static_cast<std::int64_t>(bad.size()) - 1))] = static_cast<std::uint8_t>(random(0, 255));
            const auto one = attempt(*model, bad, layout, 1), three = attempt(*model, bad, layout, 3);
            CHECK_EQ(one.has_value(), three.has_value());
            if (!one) continue;
            CHECK(same(*one, *three));
            Latents again = *one;  // whatever is accepted is the one encoding of what it says
            CHECK(encode_latents(*model, again, layout, 1) == bad);
        }
    }
}

TEST(impossible_layouts) {
    const auto model = RandomModel(ModelShape{}, 1).build(Isa::scalar);
    Random random(1);
    Latents latents = random_latents(*model, random, 2, 3, 50);
    StreamLayout layout{2, 3, 1, 0, 0};
    const Bytes payload = encode_latents(*model, latents, layout, 1);
    const auto decode = [&](StreamLayout l, int threads = 1) { return decode_latents(*model, payload, l, threads); };
    decode(layout);
    CHECK_FAULT(usage, "impossible", decode({0, 3, 1, 0, 0}));
    CHECK_FAULT(usage, "impossible", decode({2, -1, 1, 0, 0}));
    CHECK_FAULT(usage, "impossible", decode({2, (1 << 20) + 1, 1, 0, 0}));
    CHECK_FAULT(usage, "lanes must be", decode({2, 3, 0, 0, 0}));
    CHECK_FAULT(usage, "lanes must be", decode({2, 3, 5, 0, 0}));
    CHECK_FAULT(usage, "skip must be", decode({2, 3, 1, 256, 0}));
    CHECK_FAULT(usage, "z_row must be", decode({2, 3, 1, 0, 0, {}, -1}));
    CHECK_FAULT(usage, "z_row must be",
                decode({2, 3, 1, 0, 0, {}, model->tables().rows() - model->hyper_latents() + 1}));
    CHECK_FAULT(usage, "threads must be", decode(layout, 0));
    CHECK_FAULT(usage, "threads must be", decode(layout, 1025));
    Latents small = latents;
    small.y.pop_back();
    CHECK_FAULT(usage, "shape", encode_latents(*model, small, layout, 1));
    Latents far = latents;
    far.y[4] = 32768;
    CHECK_FAULT(usage, "beyond 32767", encode_latents(*model, far, layout, 1));
}

TEST(stage_times_add_up) {
    const auto model = RandomModel(ModelShape{}, 2).build(best_isa());
    Random random(2);
    Latents latents = random_latents(*model, random, 12, 12, 50);
    StreamLayout layout{12, 12, 8, 0, 0};
    StageTimes times;
    const Bytes payload = encode_latents(*model, latents, layout, 2, &times);
    decode_latents(*model, payload, layout, 2, &times);
    CHECK(times.h_s > 0 && times.context > 0 && times.coder > 0);
    CHECK(times.h_s + times.context + times.coder < 60);
}

TEST(checksum_of_the_symbols) {
    const std::vector<std::int32_t> z{3, -1}, y{7, 0, -32767};
    std::uint32_t sum = 0;
    for (std::uint32_t i = 5; i-- > 0;)
        sum += symbol_mix(i, static_cast<std::uint32_t>(i < 2 ? z[i] : y[i - 2]));  // any order
    CHECK_EQ(symbol_checksum(z, y), sum);
    CHECK_EQ(symbol_checksum({}, {}), 0u);
    CHECK(symbol_checksum(y, z) != sum);
    static_assert(symbol_mix(0, 0) == 0);
    static_assert(symbol_mix(1, 0) != symbol_mix(0, 1));
}

}  // namespace jahp::test
