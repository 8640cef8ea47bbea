// SPDX-License-Identifier: Apache-2.0
#include "core/latent_decode.hpp"

#include "core/wavefront.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

struct Coded {
    Coded(const ModelShape& shape, std::uint32_t seed, int height, int width)
        : model(RandomModel(shape, seed).build(best_isa())) {
        Random random(seed);
        latents = random_latents(*model, random, height, width, 1 << 30);
        layout = {height, width, 0, 0, 0};
        payload = encode_latents(*model, latents, layout, 1);
    }
    std::unique_ptr<EntropyModel> model;
    Latents latents;
    StreamLayout layout;
    std::vector<std::uint8_t> payload;
};

}  // namespace

TEST(rows_done_by_counting) {
    for (const int slope : {0, 2, 3})
        for (int height = 1; height <= 6; ++height)
            for (int width = 1; width <= 7; ++width) {
                const Wavefront order(height, width, slope);
                std::vector<int> seen(static_cast<std::size_t>(height));
                std::vector<Position> step;
                for (int t = 0; t < order.steps(); ++t) {
                    order.step(t, step);
                    for (const Position at : step) ++seen[static_cast<std::size_t>(at.row)];
                    int done = 0;
                    while (done < height && seen[static_cast<std::size_t>(done)] == width) ++done;
                    if (!step.empty()) CHECK_EQ(order.rows_done(step.back()), done);
                }
            }
}

TEST(rows_come_in_order_and_are_what_a_decode_gives) {
    std::uint32_t seed = 0;
    for (const bool context : {true, false})
        for (const bool hyper : {true, false})
            for (const auto& [height, width] : {Position{1, 1}, Position{12, 7}, Position{3, 20}}) {
                ModelShape shape;
                shape.context = context;
                shape.hyper = hyper;
                const Coded coded(shape, ++seed, height, width);
                for (int threads = 1; threads <= 3; ++threads) {
                    LatentDecode decode(*coded.model, coded.payload, coded.layout, threads);
                    std::vector<std::int32_t> y;
                    const int pitch = width * coded.model->latents();
                    for (int first = 0; first < height;) {
                        const auto rows = decode.rows(first);
                        CHECK(!rows.empty());
                        if (rows.empty()) return;
                        y.insert(y.end(), rows.begin(), rows.end());
                        first += static_cast<int>(rows.size()) / pitch;
                    }
                    CHECK(decode.rows(height).empty());
                    CHECK(y == coded.latents.y);
                    StageTimes times;
                    const Latents all = decode.finish(&times);
                    CHECK(all.y == coded.latents.y);
                    CHECK(all.z == coded.latents.z);
                    CHECK(times.coder > 0);
                    CHECK_FAULT(usage, "finished", decode.finish());
                    CHECK_FAULT(usage, "finished", decode.rows(0));
                }
            }
}

TEST(a_damaged_payload_fails_at_the_latest_at_the_end) {
    Coded coded({}, 7, 12, 9);
    const auto drained = [&] {
        LatentDecode decode(*coded.model, coded.payload, coded.layout, 2);
        for (int first = 0; first < 12;)
            first += static_cast<int>(decode.rows(first).size()) / (9 * coded.model->latents());
        decode.finish();
    };
    drained();
    coded.payload.resize(coded.payload.size() - 2);
    CHECK_FAULT(format, "", drained());
    CHECK_FAULT(format, "", LatentDecode(*coded.model, coded.payload, coded.layout, 1).finish());
    coded.layout.lanes = 3;
    CHECK_FAULT(usage, "lanes must be", LatentDecode(*coded.model, coded.payload, coded.layout, 1).rows(0));
}

TEST(a_poll_is_called_after_every_step_and_may_end_the_work) {
    struct Ended {};
    const Coded coded({}, 9, 20, 30);
    int calls = 0, most = 1 << 30;
    const Poll poll = [&] {
        if (++calls == most) throw Ended();
    };
    const auto ended = [&](const auto& work) {
        calls = 0;
        try {
            work();
        } catch (const Ended&) {
            return true;
        }
        return false;
    };
    for (const int threads : {1, 3}) {
        const auto encode = [&] {
            Latents latents = coded.latents;
            StreamLayout layout{20, 30, 0, 3, 0};  // skipping, so that each step is a batch of its own
            encode_latents(*coded.model, latents, layout, threads, nullptr, poll);
        };
        const auto decode = [&] {
            Latents out;
            decode_latents(*coded.model, coded.payload, coded.layout, threads, out, nullptr, [&](int rows) {
                CHECK(rows >= 0 && rows <= 20);
                poll();
            });
        };
        const auto symbols = [&] { symbols_of(*coded.model, coded.latents, threads, poll); };
        const auto wait = [&] {
            LatentDecode(*coded.model, coded.payload, coded.layout, threads).finish(nullptr, poll);
        };
        most = 1 << 30;
        CHECK(!ended(encode) && calls >= 30);
        CHECK(!ended(decode) && calls >= 30);
        CHECK(!ended(symbols) && calls >= 1);
        CHECK(!ended(wait));
        most = 2;
        CHECK(ended(encode) && calls == 2);
        CHECK(ended(decode) && calls == 2);
        most = 1;
        CHECK(ended(symbols) && calls == 1);
    }
}

TEST(a_decode_may_be_given_up) {
    const Coded coded({}, 8, 40, 30);
    for (int i = 0; i < 20; ++i) {
        LatentDecode decode(*coded.model, coded.payload, coded.layout, 1 + i % 2);
        if (i % 3 == 0) decode.rows(i);
    }
}

}  // namespace jahp::test
