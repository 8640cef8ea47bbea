// SPDX-License-Identifier: Apache-2.0
// The C interface: objects out of turn, threads, cancelling, and what the files behind it are made of. That its files,
// pixels and messages are those of the Python package stands in tests/library.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <thread>

#include "include/jahp.h"
#include "library/gains.hpp"
#include "library/json_text.hpp"
#include "library/sha256.hpp"
#include "tests/check.hpp"
#include "tests/golden_files.hpp"

namespace jahp::test {
namespace {

template <typename T, void (*release)(T*)>
struct Freed {
    void operator()(T* object) const { release(object); }
};
using Model = std::unique_ptr<jahp_model, Freed<jahp_model, jahp_model_free>>;
using Decoder = std::unique_ptr<jahp_decoder, Freed<jahp_decoder, jahp_decoder_free>>;
using Encoder = std::unique_ptr<jahp_encoder, Freed<jahp_encoder, jahp_encoder_free>>;

Model open_model(const char* name) {
    Model model(jahp_model_new());
    CHECK_EQ(jahp_model_open_file(model.get(), golden(name).string().c_str()), JAHP_OK);
    return model;
}

FileBytes decoded(jahp_decoder* decoder, const FileBytes& file) {
    const std::uint8_t* pixels = nullptr;
    std::size_t size = 0;
    CHECK_EQ(jahp_decoder_open(decoder, file.data(), file.size()), JAHP_OK);
    CHECK_EQ(jahp_decoder_image(decoder, &pixels, &size), JAHP_OK);
    return {pixels, pixels + size};
}

FileBytes encoded(jahp_encoder* encoder, const FileBytes& pixels, std::uint32_t width, std::uint32_t height,
                  std::uint32_t channels) {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    CHECK_EQ(jahp_encoder_encode(encoder, pixels.data(), pixels.size(), std::size_t{width} * channels, width, height,
                                 channels, &data, &size),
             JAHP_OK);
    return {data, data + size};
}

FileBytes picture(std::uint32_t seed, std::size_t size) {
    Random random(seed);
    FileBytes out(size);
    int value = 128;
    for (std::uint8_t& sample : out) {
        value = std::clamp(value + static_cast<int>(random(-9, 9)), 0, 255);
        sample = static_cast<std::uint8_t>(value);
    }
    return out;
}

bool says(const char* message, const char* words) { return std::strstr(message, words) != nullptr; }

// Says so when it is asked the `left`-th time.
struct Countdown {
    int left;
    static int ask(void* self) { return --static_cast<Countdown*>(self)->left < 0; }
};

}  // namespace

TEST(sha256_has_the_published_digests) {
    const auto digest = [](const std::string& text) {
        return hexadecimal(sha256({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
    };
    // FIPS 180-4, examples of the Computer Security Resource Center.
    CHECK_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_EQ(digest(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256_does_not_mind_how_bytes_are_added) {
    const FileBytes bytes = picture(1, 300);
    for (std::size_t length = 0; length <= bytes.size(); ++length)
        for (const std::size_t part : {1u, 7u, 64u, 65u}) {
            Sha256 hash;
            for (std::size_t at = 0; at < length; at += part)
                hash.add(std::span(bytes).subspan(at, std::min(part, length - at)));
            CHECK(hash.digest() == sha256(std::span(bytes).first(length)));
        }
}

TEST(json_is_strict) {
    const auto parse = [](const std::string& text) {
        return parse_json({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    };
    const auto refused = [&](const std::string& text, const char* words) {
        try {
            parse(text);
        } catch (const JsonError& e) {
            return says(e.what(), words);
        }
        return false;
    };
    const Json good = parse(" {\"a\": [1, -2, 3.5, 1e0, true, null, \"\\u00e9\"], \"b\": {}} ");
    const JsonArray& items = *good.member("a")->as<JsonArray>();
    CHECK_EQ(items[0].as<JsonInteger>()->value, 1);
    CHECK_EQ(items[1].as<JsonInteger>()->value, -2);
    CHECK(items[3].as<JsonInteger>() == nullptr && *items[3].as<double>() == 1);
    CHECK_EQ(*items[6].as<std::string>(), "\xc3\xa9");
    CHECK(good.member("b")->as<JsonObject>()->empty() && good.member("c") == nullptr);
    const Json big = parse("123456789012345678901234567890");
    CHECK(!big.as<JsonInteger>()->fits && big.as<JsonInteger>()->text == "123456789012345678901234567890");
    for (const char* text : {"", "{", "[1,]", "01", "+1", "NaN", "-Infinity", "{} {}", "\xef\xbb\xbf{}", "\"\\ud800\"",
                             "\"\xe9\"", "/**/1", "'a'", "\"\t\""})
        CHECK(refused(text, "RFC 8259"));
    for (const char* text : {"{}", "{", "\"a"}) CHECK(refused(text + std::string(1, '\0'), "RFC 8259"));
    CHECK(refused("{\"a\":1,\"\\u0061\":2}", "a name is there twice"));
    CHECK(refused("[1e999]", "beyond"));
    CHECK(refused(std::string(400, '9'), "beyond"));
    CHECK(refused(std::string(65, '[') + std::string(65, ']'), "nested too deep"));
    CHECK(!refused(std::string(64, '[') + std::string(64, ']'), ""));
    CHECK_EQ(quoted("it's \xc3\xa9\xf0\x9f\x98\x80\n"), "\"it's \\xe9\\U0001f600\\n\"");
}

TEST(four_threads_share_a_model) {
    const Model model = open_model("pictures.safetensors");
    const FileBytes pixels = picture(2, 70 * 50 * 4);
    struct Result {
        FileBytes file, back, large;
    };
    const auto work = [&](std::size_t threads, Result& result) {
        const Encoder encoder(jahp_encoder_new());
        CHECK_EQ(jahp_encoder_set_model(encoder.get(), model.get()), JAHP_OK);
        CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_THREADS, threads), JAHP_OK);
        CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_PIXEL_CHECKSUM, 1), JAHP_OK);
        CHECK_EQ(jahp_encoder_set_quality(encoder.get(), 2.3), JAHP_OK);
        result.file = encoded(encoder.get(), pixels, 70, 50, 4);
        const Decoder decoder(jahp_decoder_new());
        CHECK_EQ(jahp_decoder_add_model(decoder.get(), model.get()), JAHP_OK);
        CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_THREADS, threads), JAHP_OK);
        result.back = decoded(decoder.get(), result.file);
        result.large = decoded(decoder.get(), read_file(golden("pictures-3.jahp")));
    };
    Result alone;
    work(1, alone);
    CHECK_EQ(alone.back.size(), pixels.size());
    CHECK_EQ(alone.large.size(), std::size_t{512 * 768 * 3});
    Result results[4];
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i) threads.emplace_back([&, i] { work(1 + i % 3, results[i]); });
    for (std::thread& thread : threads) thread.join();
    for (const Result& result : results) {
        CHECK(result.file == alone.file);
        CHECK(result.back == alone.back);
        CHECK(result.large == alone.large);
    }
}

TEST(sixteen_threads_hammer_a_model) {
    // Fresh, so that what is read and packed when it is first needed is wanted by all at once.
    const FileBytes pixels = picture(5, 33 * 21 * 3), large = read_file(golden("pictures-1.jahp"));
    const auto work = [&](jahp_model* model, std::uint32_t kind) {
        const Decoder decoder(jahp_decoder_new());
        const Encoder encoder(jahp_encoder_new());
        CHECK_EQ(jahp_decoder_add_model(decoder.get(), model), JAHP_OK);
        CHECK_EQ(jahp_encoder_set_model(encoder.get(), model), JAHP_OK);
        CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_THREADS, 1 + kind % 3), JAHP_OK);
        CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_THREADS, 1 + kind % 2), JAHP_OK);
        CHECK_EQ(jahp_encoder_set_quality(encoder.get(), 1 + kind % 10), JAHP_OK);
        if (kind % 4 == 3) CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_MAX_ERROR, kind % 3), JAHP_OK);
        FileBytes file = encoded(encoder.get(), pixels, 33, 21, 3), out = decoded(decoder.get(), file);
        const FileBytes golden_pixels = decoded(decoder.get(), large);
        out.insert(out.end(), golden_pixels.begin(), golden_pixels.end());
        out.insert(out.end(), file.begin(), file.end());
        file.pop_back();
        CHECK_EQ(jahp_decoder_open(decoder.get(), file.data(), file.size()), JAHP_FORMAT_ERROR);
        return out;
    };
    constexpr std::uint32_t kThreads = 16;
    FileBytes alone[kThreads];
    for (std::uint32_t i = 0; i < kThreads; ++i) alone[i] = work(open_model("pictures.safetensors").get(), i);
    const Model model = open_model("pictures.safetensors");
    std::atomic<std::uint32_t> waiting{kThreads};
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < kThreads; ++i)
        threads.emplace_back([&, i] {
            for (--waiting; waiting.load() > 0;) std::this_thread::yield();
            for (std::uint32_t k = 0; k < 4; ++k)
                CHECK(work(model.get(), (i + k) % kThreads) == alone[(i + k) % kThreads]);
        });
    for (std::thread& thread : threads) thread.join();
}

TEST(large_pictures_come_while_they_are_decoded) {
    const Model model = open_model("pictures.safetensors");
    const std::uint32_t width = 2048, height = 2100;  // above what is decoded whole first
    const FileBytes pixels = picture(3, std::size_t{width} * height);
    const Encoder encoder(jahp_encoder_new());
    jahp_encoder_set_model(encoder.get(), model.get());
    jahp_encoder_set_quality(encoder.get(), 1);
    const FileBytes file = encoded(encoder.get(), pixels, width, height, 1);
    const Decoder decoder(jahp_decoder_new());
    jahp_decoder_add_model(decoder.get(), model.get());
    jahp_decoder_set(decoder.get(), JAHP_THREADS, 2);
    const FileBytes whole = decoded(decoder.get(), file);
    CHECK_EQ(whole.size(), pixels.size());
    jahp_decoder_open(decoder.get(), file.data(), file.size());
    FileBytes rows(std::size_t{width} * 3);
    std::uint32_t count = 1, done = 0;
    while (count > 0) {
        CHECK_EQ(jahp_decoder_rows(decoder.get(), rows.data(), rows.size(), width, &count), JAHP_OK);
        CHECK(std::equal(rows.begin(), rows.begin() + std::ptrdiff_t{width} * count,
                         whole.begin() + std::ptrdiff_t{width} * done));
        done += count;
    }
    CHECK_EQ(done, height);
    // One that is given up half way ends its threads; so does one whose payload is damaged, which shows late.
    jahp_decoder_open(decoder.get(), file.data(), file.size());
    CHECK_EQ(jahp_decoder_rows(decoder.get(), rows.data(), rows.size(), width, &count), JAHP_OK);
    FileBytes damaged = file;
    damaged[36] ^= 1;  // of the symbols' checksum
    repair_crc(damaged);
    CHECK_EQ(jahp_decoder_open(decoder.get(), damaged.data(), damaged.size()), JAHP_OK);
    jahp_status status = JAHP_OK;
    for (count = 1, done = 0; status == JAHP_OK && count > 0; done += count)
        status = jahp_decoder_rows(decoder.get(), rows.data(), rows.size(), width, &count);
    CHECK_EQ(status, JAHP_FORMAT_ERROR);
    CHECK(says(jahp_decoder_message(decoder.get()), "checksum of the decoded symbols"));
    CHECK(done < height);
    CHECK_EQ(jahp_decoder_rows(decoder.get(), rows.data(), rows.size(), width, &count), JAHP_USAGE_ERROR);
    CHECK(says(jahp_decoder_message(decoder.get()), "open it anew"));
}

TEST(work_can_be_cancelled_at_every_place) {
    const Model model = open_model("pictures.safetensors");
    const FileBytes pixels = picture(4, 200 * 90 * 3);
    const Encoder encoder(jahp_encoder_new());
    jahp_encoder_set_model(encoder.get(), model.get());
    const FileBytes file = encoded(encoder.get(), pixels, 200, 90, 3);
    const Decoder decoder(jahp_decoder_new());
    jahp_decoder_add_model(decoder.get(), model.get());
    const FileBytes whole = decoded(decoder.get(), file);
    int cancelled = 0;
    for (int calls = 0;; ++calls) {
        Countdown countdown{calls};
        const std::uint8_t* data = nullptr;
        std::size_t size = 0;
        jahp_encoder_set_cancel(encoder.get(), &Countdown::ask, &countdown);
        const jahp_status one = jahp_encoder_encode(encoder.get(), pixels.data(), pixels.size(), 600, 200, 90, 3, &data,
                                                    &size);
        CHECK(one == JAHP_OK || (one == JAHP_CANCELLED && data == nullptr && size == 0));
        CHECK(one != JAHP_OK || FileBytes(data, data + size) == file);
        countdown.left = calls;
        jahp_decoder_set_cancel(decoder.get(), &Countdown::ask, &countdown);
        CHECK_EQ(jahp_decoder_open(decoder.get(), file.data(), file.size()), JAHP_OK);
        const jahp_status two = jahp_decoder_image(decoder.get(), &data, &size);
        CHECK(two == JAHP_OK || two == JAHP_CANCELLED);
        CHECK(two != JAHP_OK || FileBytes(data, data + size) == whole);
        cancelled += (one == JAHP_CANCELLED) + (two == JAHP_CANCELLED);
        if (one == JAHP_OK && two == JAHP_OK) break;
    }
    CHECK(cancelled > 10);
}

TEST(views_share_a_model_and_can_be_cancelled_at_every_place) {
    const Model model = open_model("pictures.safetensors");
    const FileBytes file = read_file(golden("pictures-3.jahp"));  // 768 x 512
    const jahp_region region{301, 203, 170, 90};
    const auto view = [&](jahp_decoder* decoder, std::int32_t scale, const jahp_region* part, jahp_status wanted) {
        const std::uint8_t* pixels = nullptr;
        std::size_t size = 0;
        CHECK_EQ(jahp_decoder_open(decoder, file.data(), file.size()), JAHP_OK);
        CHECK_EQ(jahp_decoder_set_view(decoder, scale, part), JAHP_OK);
        const jahp_status status = jahp_decoder_image(decoder, &pixels, &size);
        CHECK(status == JAHP_OK || status == wanted);
        return FileBytes(pixels, pixels + size);
    };
    const auto work = [&](std::size_t threads) {
        const Decoder decoder(jahp_decoder_new());
        CHECK_EQ(jahp_decoder_add_model(decoder.get(), model.get()), JAHP_OK);
        CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_THREADS, threads), JAHP_OK);
        FileBytes all;
        for (const std::int32_t scale : {1, 2, 8}) {
            const FileBytes some = view(decoder.get(), scale, &region, JAHP_OK);
            all.insert(all.end(), some.begin(), some.end());
        }
        return all;
    };
    const FileBytes alone = work(1);
    // At 1/2 columns 150 to 235 and rows 101 to 146, at 1/8 columns 37 to 58 and rows 25 to 36.
    CHECK_EQ(alone.size(), std::size_t{3 * (170 * 90 + 86 * 46 + 22 * 12)});
    FileBytes results[4];
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i) threads.emplace_back([&, i] { results[i] = work(1 + i % 3); });
    for (std::thread& thread : threads) thread.join();
    for (const FileBytes& result : results) CHECK(result == alone);

    const Decoder decoder(jahp_decoder_new());
    jahp_decoder_add_model(decoder.get(), model.get());
    const FileBytes part = view(decoder.get(), 1, &region, JAHP_OK);
    int cancelled = 0;
    for (int calls = 0;; calls += 1 + calls / 8) {
        Countdown countdown{calls};
        jahp_decoder_set_cancel(decoder.get(), &Countdown::ask, &countdown);
        const FileBytes got = view(decoder.get(), 1, &region, JAHP_CANCELLED);
        if (!got.empty()) {
            CHECK(got == part);
            break;
        }
        ++cancelled;
    }
    CHECK(cancelled > 5);
}

TEST(objects_out_of_turn) {
    jahp_info info;
    jahp_model_info model_info;
    const std::uint8_t* data = nullptr;
    std::uint8_t pixel[4] = {};
    std::size_t size = 0;
    std::uint32_t rows = 0;
    jahp_model_free(nullptr);
    jahp_decoder_free(nullptr);
    jahp_encoder_free(nullptr);
    CHECK_EQ(jahp_model_open_file(nullptr, "a"), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_open(nullptr, pixel, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set_quality(nullptr, 4), JAHP_USAGE_ERROR);
    CHECK(says(jahp_decoder_message(nullptr), "no decoder"));
    const Model model(jahp_model_new());
    CHECK_EQ(jahp_model_get_info(model.get(), &model_info, sizeof model_info), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_model_open_file(model.get(), nullptr), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_model_open_memory(model.get(), nullptr, 3, nullptr), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_model_open_memory(model.get(), pixel, 3, nullptr), JAHP_MODEL_ERROR);
    CHECK(says(jahp_model_message(model.get()), "the model: is not a safetensors file: it ends early"));
    CHECK_EQ(jahp_model_open_file(model.get(), golden("pictures.safetensors").string().c_str()), JAHP_OK);
    CHECK_EQ(std::string(jahp_model_message(model.get())), "");
    CHECK_EQ(jahp_model_open_file(model.get(), golden("pictures.safetensors").string().c_str()), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_model_get_info(model.get(), &model_info, 3), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_model_get_info(model.get(), &model_info, sizeof model_info), JAHP_OK);
    CHECK(std::string(model_info.architecture) == "mbt2018" && model_info.lowest == 1 && model_info.highest == 8);

    const Decoder decoder(jahp_decoder_new());
    const Model closed(jahp_model_new());
    CHECK_EQ(jahp_decoder_add_model(decoder.get(), closed.get()), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_get_info(decoder.get(), &info, sizeof info), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_rows(decoder.get(), pixel, 4, 4, &rows), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set_view(nullptr, 1, nullptr), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set_view(decoder.get(), 1, nullptr), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_image(decoder.get(), &data, &size), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_THREADS, 0), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_THREADS, 1025), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_MAX_BYTES, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_CHANNELS, 3), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_SAMPLE_BITS, 12), JAHP_USAGE_ERROR);
    const FileBytes file = read_file(golden("pictures-1.jahp"));  // 17 x 31, grey
    CHECK_EQ(jahp_decoder_open(decoder.get(), file.data(), file.size()), JAHP_OK);
    CHECK_EQ(jahp_decoder_image(decoder.get(), &data, &size), JAHP_UNKNOWN_MODEL);
    CHECK(says(jahp_decoder_message(decoder.get()), model_info.id));
    CHECK_EQ(jahp_decoder_add_model(decoder.get(), model.get()), JAHP_OK);
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_MAX_PIXELS, 17 * 31 - 1), JAHP_OK);
    CHECK_EQ(jahp_decoder_open(decoder.get(), file.data(), file.size()), JAHP_FORMAT_ERROR);
    CHECK(says(jahp_decoder_message(decoder.get()), "17 x 31 pixels are more than max_pixels = 526"));
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_MAX_PIXELS, 17 * 31), JAHP_OK);
    CHECK_EQ(jahp_decoder_open(decoder.get(), file.data(), file.size()), JAHP_OK);
    CHECK_EQ(jahp_decoder_rows(decoder.get(), pixel, 4, 17, &rows), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_rows(decoder.get(), pixel, 17, 16, &rows), JAHP_USAGE_ERROR);
    const jahp_region corner{16, 30, 1, 1}, outside{16, 30, 1, 2};
    CHECK_EQ(jahp_decoder_set_view(decoder.get(), 1, &corner), JAHP_OK);
    CHECK_EQ(jahp_decoder_set_view(decoder.get(), 1, &outside), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_set_view(decoder.get(), 3, nullptr), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_decoder_get_info(decoder.get(), &info, sizeof info), JAHP_OK);
    CHECK(info.width == 17 && info.height == 31 && info.view_width == 1 && info.view_height == 1);
    CHECK_EQ(info.pixels_size, 1u);
    CHECK_EQ(jahp_decoder_rows(decoder.get(), pixel, 1, 1, &rows), JAHP_OK);
    CHECK_EQ(rows, 1u);
    CHECK_EQ(jahp_decoder_set_view(decoder.get(), 1, nullptr), JAHP_USAGE_ERROR);
    CHECK(says(jahp_decoder_message(decoder.get()), "open it anew"));
    const FileBytes grey = decoded(decoder.get(), file);
    CHECK_EQ(pixel[0], grey.back());
    CHECK_EQ(jahp_decoder_image(decoder.get(), &data, &size), JAHP_OK);
    CHECK_EQ(size, 0u);  // none are left
    CHECK_EQ(jahp_decoder_set(decoder.get(), JAHP_CHANNELS, 4), JAHP_OK);
    const FileBytes rgba = decoded(decoder.get(), file);
    CHECK_EQ(rgba.size(), 4 * grey.size());
    for (std::size_t i = 0; i < grey.size(); ++i)
        CHECK(rgba[4 * i] == grey[i] && rgba[4 * i + 1] == grey[i] && rgba[4 * i + 2] == grey[i] &&
              rgba[4 * i + 3] == 255);
}

TEST(a_model_is_kept_by_whom_it_was_given_to) {
    Model model = open_model("pictures.safetensors");
    const Decoder decoder(jahp_decoder_new());
    CHECK_EQ(jahp_decoder_add_model(decoder.get(), model.get()), JAHP_OK);
    const FileBytes file = read_file(golden("pictures-2.jahp")), before = decoded(decoder.get(), file);
    model.reset();
    CHECK(decoded(decoder.get(), file) == before);
}

TEST(encoders_out_of_turn) {
    const Model model = open_model("pictures.safetensors");
    const Encoder encoder(jahp_encoder_new());
    const FileBytes pixels = picture(5, 6 * 5 * 4);
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    const auto encode = [&](std::size_t bytes, std::size_t stride, std::uint32_t width, std::uint32_t height,
                            std::uint32_t channels) {
        return jahp_encoder_encode(encoder.get(), pixels.data(), bytes, stride, width, height, channels, &data, &size);
    };
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_USAGE_ERROR);  // no model
    CHECK_EQ(jahp_encoder_set_model(encoder.get(), model.get()), JAHP_OK);
    CHECK_EQ(encode(119, 24, 6, 5, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(encode(120, 23, 6, 5, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(encode(120, 24, 6, 5, 5), JAHP_USAGE_ERROR);
    CHECK_EQ(encode(120, 24, 0, 5, 4), JAHP_IMAGE_ERROR);
    CHECK(says(jahp_encoder_message(encoder.get()), "an image of 0 x 5 pixels is empty"));
    CHECK_EQ(jahp_encoder_encode(encoder.get(), nullptr, 120, 24, 6, 5, 4, &data, &size), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_MAX_ERROR, 256), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_CHANNELS, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set_chunk(encoder.get(), "ALPH", pixels.data(), 4), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set_chunk(encoder.get(), "exif", nullptr, 4), JAHP_USAGE_ERROR);
    CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_MAX_PIXELS, 29), JAHP_OK);
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_IMAGE_ERROR);
    CHECK_EQ(jahp_encoder_set(encoder.get(), JAHP_MAX_PIXELS, 30), JAHP_OK);
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_OK);
    const FileBytes plain(data, data + size);
    CHECK_EQ(jahp_encoder_set_chunk(encoder.get(), "exif", pixels.data(), 4), JAHP_OK);
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_OK);
    CHECK_EQ(size, plain.size() + 12);
    CHECK_EQ(jahp_encoder_set_chunk(encoder.get(), "exif", nullptr, 0), JAHP_OK);
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_OK);
    CHECK(FileBytes(data, data + size) == plain);
    CHECK_EQ(jahp_encoder_set_quality(encoder.get(), 12.5), JAHP_OK);
    CHECK_EQ(encode(120, 24, 6, 5, 4), JAHP_USAGE_ERROR);
    CHECK(says(jahp_encoder_message(encoder.get()), "quality 12.5 is not one that pictures has: 1 to 12"));
}

}  // namespace jahp::test
