// SPDX-License-Identifier: Apache-2.0
// Input: a .jahp file or, if it does not begin like one, a model file. Through the C interface: a file is decoded with
// all golden models, by rows, whole and in part; a model that is taken decodes a golden stream that is made to name it,
// and encodes a small picture. Whatever it is, it ends in a status that it may have, with a message where it is
// refused, and the same both ways. Most inputs are repaired: lengths and CRC of files, and the hashes of models'
// tensors.
#include <algorithm>
#include <cstring>
#include <random>
#include <span>

#include "fuzz/fuzz.hpp"
#include "include/jahp.h"
#include "library/little_endian.hpp"
#include "library/sha256.hpp"
#include "tests/golden_files.hpp"

namespace {

using jahp::test::FileBytes;
using jahp::test::golden;
using jahp::test::golden_files;
using jahp::test::read_file;

constexpr std::size_t kMostPixels = 1 << 14, kMostSeed = 20000;
constexpr char kStream[] = "pictures-1.jahp";  // which models of its kind decode

bool is_file(std::span<const std::uint8_t> input) {
    return input.size() >= 4 && std::memcmp(input.data(), "JAHP", 4) == 0;
}

const std::vector<FileBytes>& seeds() {
    static const std::vector<FileBytes> all = [] {
        std::vector<FileBytes> out;
        for (const char* suffix : {".jahp", ".safetensors"})
            for (const auto& path : golden_files(suffix)) {
                FileBytes file = read_file(path);
                if (file.size() <= kMostSeed) out.push_back(std::move(file));
            }
        return out;
    }();
    return all;
}

struct Models {
    std::vector<jahp_model*> all;
    Models() {
        for (const auto& path : golden_files(".safetensors")) {
            all.push_back(jahp_model_new());
            fuzz_require(jahp_model_open_file(all.back(), path.string().c_str()) == JAHP_OK,
                         "a golden model is refused");
        }
    }
    ~Models() {
        for (jahp_model* model : all) jahp_model_free(model);
    }
};

// What decoding came to.
struct Outcome {
    jahp_status status;
    std::string message;
    FileBytes pixels;
    bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(jahp_decoder* decoder, jahp_status status, FileBytes pixels) {
    const std::string message = jahp_decoder_message(decoder);
    fuzz_require((status == JAHP_OK) == message.empty(), "a refusal without a message, or a message without one");
    if (status != JAHP_OK) pixels.clear();
    return {status, message, std::move(pixels)};
}

// Rows of the open file, whose `info` is of its view.
Outcome rows_of(jahp_decoder* decoder, const jahp_info& info, std::uint32_t at_once) {
    const std::size_t stride = std::size_t{info.view_width} * info.channels;
    FileBytes pixels, rows(stride * at_once);
    jahp_status status = JAHP_OK;
    for (std::uint32_t count = 1; status == JAHP_OK && count > 0;) {
        status = jahp_decoder_rows(decoder, rows.data(), rows.size(), stride, &count);
        pixels.insert(pixels.end(), rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count * stride));
    }
    fuzz_require(status != JAHP_OK || pixels.size() == info.pixels_size, "rows are missing");
    return outcome_of(decoder, status, std::move(pixels));
}

void check_status(const Outcome& outcome) {
    fuzz_require(outcome.status == JAHP_OK || outcome.status == JAHP_FORMAT_ERROR ||
                     outcome.status == JAHP_MODEL_ERROR || outcome.status == JAHP_UNKNOWN_MODEL,
                 outcome.message.c_str());
}

Outcome decoded_by_rows(jahp_decoder* decoder, std::span<const std::uint8_t> file, std::uint32_t at_once) {
    jahp_info info{};
    jahp_status status = jahp_decoder_open(decoder, file.data(), file.size());
    if (status == JAHP_OK) status = jahp_decoder_get_info(decoder, &info, sizeof info);
    if (status != JAHP_OK) return outcome_of(decoder, status, {});
    fuzz_require(std::uint64_t{info.width} * info.height <= kMostPixels, "max_pixels does not hold");
    return rows_of(decoder, info, at_once);
}

// Whole, or a view of it.
struct Asked {
    std::int32_t scale;
    const jahp_region* region;
};

Outcome viewed(jahp_decoder* decoder, std::span<const std::uint8_t> file, const Asked& asked, jahp_info& info) {
    fuzz_require(jahp_decoder_open(decoder, file.data(), file.size()) == JAHP_OK &&
                     jahp_decoder_set_view(decoder, asked.scale, asked.region) == JAHP_OK &&
                     jahp_decoder_get_info(decoder, &info, sizeof info) == JAHP_OK,
                 jahp_decoder_message(decoder));
    return rows_of(decoder, info, 5);
}

// A region of a file that can be opened is the same part of the whole, at full size and at a scale.
void check_views(jahp_decoder* decoder, std::span<const std::uint8_t> file) {
    jahp_info info{};
    if (jahp_decoder_open(decoder, file.data(), file.size()) != JAHP_OK) return;
    fuzz_require(jahp_decoder_get_info(decoder, &info, sizeof info) == JAHP_OK, jahp_decoder_message(decoder));
    std::mt19937 random(static_cast<std::uint32_t>(file.size()) * 31 + file[file.size() / 2]);
    const auto below = [&](std::int64_t end) { return static_cast<std::int64_t>(random()) % end; };
    jahp_region region{below(info.width), below(info.height), 0, 0};
    region.width = 1 + below(info.width - region.left);
    region.height = 1 + below(info.height - region.top);
    for (const std::int32_t scale : {1, 2 << below(4)}) {
        jahp_info whole{}, part{};
        const Outcome all = viewed(decoder, file, {scale, nullptr}, whole);
        const Outcome some = viewed(decoder, file, {scale, &region}, part);
        for (const Outcome* outcome : {&all, &some}) check_status(*outcome);
        if (all.status != JAHP_OK) continue;
        fuzz_require(some.status == JAHP_OK, "a part is refused of what is decoded whole");
        const std::size_t n = info.channels, wide = part.view_width * n, all_wide = whole.view_width * n;
        const auto left = static_cast<std::size_t>(region.left / scale),
                   top = static_cast<std::size_t>(region.top / scale);
        for (std::size_t row = 0; row < part.view_height; ++row)
            fuzz_require(std::memcmp(some.pixels.data() + row * wide,
                                     all.pixels.data() + (top + row) * all_wide + left * n, wide) == 0,
                         "a part is another one than that of the whole");
    }
}

Outcome decoded_whole(jahp_decoder* decoder, std::span<const std::uint8_t> file) {
    const std::uint8_t* pixels = nullptr;
    std::size_t size = 0;
    jahp_status status = jahp_decoder_open(decoder, file.data(), file.size());
    if (status == JAHP_OK) status = jahp_decoder_image(decoder, &pixels, &size);
    return outcome_of(decoder, status, FileBytes(pixels, pixels + size));
}

jahp_status decode(std::span<const std::uint8_t> file, std::span<jahp_model* const> models) {
    jahp_decoder* decoder = jahp_decoder_new();
    for (jahp_model* model : models) jahp_decoder_add_model(decoder, model);
    jahp_decoder_set(decoder, JAHP_MAX_PIXELS, kMostPixels);
    const Outcome one = decoded_by_rows(decoder, file, 1 + static_cast<std::uint32_t>(file.size() % 9));
    jahp_decoder_set(decoder, JAHP_THREADS, 2);
    fuzz_require(decoded_whole(decoder, file) == one, "rows and the whole differ");
    check_views(decoder, file);
    jahp_decoder_set(decoder, JAHP_SAMPLE_BITS, 16);  // which reads the lower bits of alpha too
    const Outcome deep = decoded_whole(decoder, file);
    fuzz_require(deep.status != JAHP_OK || one.status != JAHP_OK || deep.pixels.size() == 2 * one.pixels.size(),
                 "16 bits do not take twice as much as 8");
    jahp_decoder_free(decoder);
    for (const Outcome* outcome : {&one, &deep}) check_status(*outcome);
    return one.status;
}

void use_model(jahp_model* model) {
    jahp_model_info info{};
    fuzz_require(jahp_model_get_info(model, &info, sizeof info) == JAHP_OK, "an open model says nothing of itself");
    FileBytes stream = read_file(golden(kStream));
    for (std::size_t i = 0; i < 8; ++i)
        stream[8 + i] = static_cast<std::uint8_t>(std::stoi(std::string(info.id + 2 * i, 2), nullptr, 16));
    jahp::test::repair_crc(stream);
    decode(stream, {&model, 1});
    jahp_encoder* encoder = jahp_encoder_new();
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    const std::uint8_t pixels[5 * 3] = {0, 255, 3, 90, 17, 200, 201, 202, 0, 0, 0, 0, 255, 255, 1};
    jahp_encoder_set_model(encoder, model);
    jahp_encoder_set_quality(encoder, info.lowest);
    const jahp_status status = jahp_encoder_encode(encoder, pixels, sizeof pixels, 5, 5, 3, 1, &data, &size);
    fuzz_require(status == JAHP_OK || status == JAHP_IMAGE_ERROR || status == JAHP_MODEL_ERROR,
                 jahp_encoder_message(encoder));
    if (status == JAHP_OK) {
        const jahp_status back = decode({data, size}, {&model, 1});
        fuzz_require(back == JAHP_OK || back == JAHP_MODEL_ERROR, "a file that was encoded is refused");
    }
    jahp_encoder_free(encoder);
}

// Makes payload and chunks add up to what there is.
void repair_lengths(FileBytes& file) {
    if (file.size() < 44) return;
    const auto rest = static_cast<std::uint32_t>(file.size() - 44);
    const std::uint32_t payload = std::min(jahp::get_u32(file, 28), rest);
    for (std::size_t i = 0; i < 4; ++i) {
        file[28 + i] = static_cast<std::uint8_t>(payload >> (8 * i));
        file[32 + i] = static_cast<std::uint8_t>((rest - payload) >> (8 * i));
    }
}

// Makes the hashes in a model file's manifest true again, where `original` had them.
void repair_hashes(FileBytes& file, const FileBytes& original) {
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | original[i];
    if (length > original.size() - 8) return;  // no model, but a file of another magic
    const std::size_t begin = 8 + static_cast<std::size_t>(length);
    const std::string header(original.begin() + 8, original.begin() + static_cast<std::ptrdiff_t>(begin));
    std::vector<std::size_t> cuts;
    for (std::size_t at = header.find("\"data_offsets\":["); at != std::string::npos;
         at = header.find("\"data_offsets\":[", at + 1))
        cuts.push_back(begin + std::stoul(header.substr(at + 16)));
    cuts.push_back(original.size());
    std::sort(cuts.begin(), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        const auto hash = [&](const FileBytes& of) {
            return jahp::hexadecimal(jahp::sha256(std::span(of).subspan(cuts[i], cuts[i + 1] - cuts[i])));
        };
        const std::size_t at = header.find(hash(original));
        const std::string fresh = hash(file);
        if (at != std::string::npos)
            std::copy(fresh.begin(), fresh.end(), file.begin() + static_cast<std::ptrdiff_t>(8 + at));
    }
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) { return seeds()[n * 7 % seeds().size()]; }

std::vector<std::uint8_t> fuzz_repaired(std::vector<std::uint8_t> input, std::uint32_t seed) {
    if (seed % 8 == 0 || input.size() < 8) return input;
    if (is_file(input)) {
        if (seed % 8 > 1) repair_lengths(input);
        jahp::test::repair_crc(input);
        return input;
    }
    for (const FileBytes& original : seeds())
        if (!is_file(original) && original.size() == input.size() &&
            std::equal(input.begin(), input.begin() + 8, original.begin())) {
            repair_hashes(input, original);
            break;
        }
    return input;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Models models;
    static Outcomes<5> outcomes({"files accepted", "refused", "of a model's fault", "models accepted", "refused"});
    const std::span<const std::uint8_t> input(data, size);
    if (is_file(input)) {
        const jahp_status status = decode(input, models.all);
        return outcomes.count(status == JAHP_OK ? 0 : status == JAHP_FORMAT_ERROR ? 1 : 2);
    }
    jahp_model* model = jahp_model_new();
    const jahp_status status = jahp_model_open_memory(model, data, size, "model");
    fuzz_require(status == JAHP_OK || status == JAHP_MODEL_ERROR || size == 0, jahp_model_message(model));
    if (status == JAHP_OK) use_model(model);
    jahp_model_free(model);
    return outcomes.count(status == JAHP_OK ? 3 : 4);
}
