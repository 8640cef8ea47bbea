// SPDX-License-Identifier: Apache-2.0
#include "core/latent_decode.hpp"

#include <algorithm>

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

// All of y, each of its corners, and what is in the middle.
std::vector<LatentWindow> windows(int height, int width) {
    const int h = (height + 1) / 2, w = (width + 1) / 2;
    return {{0, height, 0, width}, {0, h, 0, w}, {height - h, height, width - w, width}, {h - 1, h, w - 1, w}};
}

std::vector<std::int32_t> cut(const Coded& coded, const LatentWindow& window) {
    std::vector<std::int32_t> out;
    const int m = coded.model->latents();
    for (int r = window.top; r < window.bottom; ++r) {
        const auto row = coded.latents.y.begin() + static_cast<std::ptrdiff_t>(r) * coded.layout.width * m;
        out.insert(out.end(), row + window.left * m, row + window.right * m);
    }
    return out;
}

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
                for (int threads = 1; threads <= 3; ++threads)
                    for (const LatentWindow& window : windows(height, width)) {
                        LatentDecode decode(*coded.model, coded.payload, coded.layout, threads, window);
                        std::vector<std::int32_t> y;
                        for (int left = window.height(); left > 0; left -= threads) {
                            const std::vector<std::int32_t> rows = decode.rows(threads);
                            CHECK_EQ(rows.size(), static_cast<std::size_t>(std::min(left, threads) * window.width() *
                                                                           coded.model->latents()));
                            y.insert(y.end(), rows.begin(), rows.end());
                        }
                        CHECK(decode.rows(1).empty());
                        CHECK(y == cut(coded, window));
                        CHECK_EQ(decode.finish(), symbol_checksum(coded.latents.z, coded.latents.y));
                        CHECK_FAULT(usage, "finished", decode.finish());
                        CHECK_FAULT(usage, "finished", decode.rows(1));
                    }
            }
}

TEST(a_decode_waits_for_whoever_is_slow_and_ends_for_whoever_has_enough) {
    const Coded coded({}, 5, 3 * LatentDecode::kAhead, 2);
    const std::uint32_t checksum = symbol_checksum(coded.latents.z, coded.latents.y);
    for (int taken = 0; taken < 3 * LatentDecode::kAhead; taken += 13) {
        LatentDecode decode(*coded.model, coded.payload, coded.layout, 1 + taken % 2);
        for (int row = 0; row < taken; ++row) CHECK(!decode.rows(1).empty());
        CHECK_EQ(decode.finish(), checksum);
    }
    LatentDecode at_once(*coded.model, coded.payload, coded.layout, 1);
    CHECK(at_once.rows(1 << 30) == coded.latents.y);  // more than may wait
    LatentDecode(*coded.model, coded.payload, coded.layout, 1).rows(1);  // gives up a decode that waits
}

TEST(windows_that_there_are_not) {
    const Coded coded({}, 6, 4, 5);
    for (const LatentWindow& window : {LatentWindow{0, 0, 0, 5}, LatentWindow{0, 4, 3, 3}, LatentWindow{-1, 2, 0, 5},
                                       LatentWindow{0, 5, 0, 5}, LatentWindow{0, 4, 0, 6}, LatentWindow{0, 4, -1, 2}})
        CHECK_FAULT(usage, "window", LatentDecode(*coded.model, coded.payload, coded.layout, 1, window));
    CHECK_FAULT(usage, "count", LatentDecode(*coded.model, coded.payload, coded.layout, 1).rows(0));
}

TEST(rows_hold_every_value_and_let_go_what_was_taken) {
    LatentRows rows(3, 2, 2);
    const std::vector<std::int32_t> narrow{-32768, 32767}, wide{32768, -32769}, widest{1 << 23, -(1 << 23)};
    for (int row = 0; row < 3; ++row) rows.put(row, row == 2 ? 1 : 0, narrow);
    CHECK(!rows.wide(0) && !rows.wide(1) && !rows.wide(2));
    rows.put(0, 1, narrow);
    rows.put(1, 1, wide);
    rows.put(2, 0, widest);
    CHECK(!rows.wide(0) && rows.wide(1) && rows.wide(2));
    std::vector<std::int32_t> out;
    for (int row = 0; row < 3; ++row) rows.take(row, out);
    CHECK(out == std::vector<std::int32_t>(
                     {-32768, 32767, -32768, 32767, -32768, 32767, 32768, -32769, 1 << 23, -(1 << 23), -32768, 32767}));
    CHECK(!rows.wide(1));
    out.clear();
    rows.take(1, out);
    CHECK(out.empty());
}

TEST(a_damaged_payload_fails_at_the_latest_at_the_end) {
    Coded coded({}, 7, 12, 9);
    const auto drained = [&] {
        LatentDecode decode(*coded.model, coded.payload, coded.layout, 2);
        for (int row = 0; row < 12; ++row) decode.rows(1);
        decode.finish();
    };
    drained();
    coded.payload.resize(coded.payload.size() - 2);
    CHECK_FAULT(format, "", drained());
    CHECK_FAULT(format, "", LatentDecode(*coded.model, coded.payload, coded.layout, 1).finish());
    coded.layout.lanes = 3;
    CHECK_FAULT(usage, "lanes must be", LatentDecode(*coded.model, coded.payload, coded.layout, 1).rows(1));
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
        const auto wait = [&] { LatentDecode(*coded.model, coded.payload, coded.layout, threads).finish(poll); };
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
        if (i % 3 == 0) decode.rows(i + 1);
    }
}

}  // namespace jahp::test
