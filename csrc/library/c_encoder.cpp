// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <utility>

#include "library/c_calls.hpp"
#include "library/picture_encoder.hpp"
#include "library/rate_control.hpp"
#include "residual/exact_pixels.hpp"

using namespace jahp;

struct jahp_encoder {
    Message message;
    CommonOptions common;
    EncoderOptions options;
    int sample_bits = 8, depth = 16;
    std::shared_ptr<CodecModel> model;
    Bytes data;
};

static void set_option(jahp_encoder& encoder, jahp_option option, std::size_t value) {
    if (encoder.common.set(option, value)) return;
    EncoderOptions& options = encoder.options;
    switch (option) {
        case JAHP_MAX_BYTES:
            options.max_bytes = value == 0 ? std::nullopt : std::optional<std::uint64_t>(value);
            return;
        case JAHP_MAX_ERROR:
            if (value != JAHP_NO_BOUND) require_within("max_error", value, 0, most_error(16));
            options.max_error = value == JAHP_NO_BOUND ? std::nullopt : std::optional<int>(static_cast<int>(value));
            return;
        case JAHP_PIXEL_CHECKSUM:
            require_within("JAHP_PIXEL_CHECKSUM", value, 0, 1);
            options.pixel_checksum = value == 1;
            return;
        case JAHP_SAMPLE_BITS:
            require_usage(value == 8 || value == 16, "JAHP_SAMPLE_BITS must be 8 or 16, not " + std::to_string(value));
            encoder.sample_bits = static_cast<int>(value);
            return;
        case JAHP_DEPTH:
            require_usage(value >= 9 && value <= 16,
                          "depth can be 9 to 16 with pixels of uint16, not " + std::to_string(value));
            encoder.depth = static_cast<int>(value);
            return;
        case JAHP_DRAWINGS:
            require_within("JAHP_DRAWINGS", value, 0, 1);
            options.drawings = value == 1;
            return;
        default:
            throw Error(Fault::usage,
                        "encoders have no such option: they have JAHP_THREADS, JAHP_MAX_PIXELS, JAHP_MAX_BYTES, "
                        "JAHP_MAX_ERROR, JAHP_PIXEL_CHECKSUM, JAHP_SAMPLE_BITS, JAHP_DEPTH and JAHP_DRAWINGS");
    }
}

extern "C" {

jahp_encoder* jahp_encoder_new(void) { return new (std::nothrow) jahp_encoder; }

void jahp_encoder_free(jahp_encoder* encoder) { delete encoder; }

jahp_status jahp_encoder_set(jahp_encoder* encoder, jahp_option option, size_t value) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] { set_option(*encoder, option, value); });
}

jahp_status jahp_encoder_set_quality(jahp_encoder* encoder, double quality) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        require_usage(std::isfinite(quality), "quality must be a number, not " + short_number(quality));
        encoder->options.quality = quality;
    });
}

jahp_status jahp_encoder_set_target(jahp_encoder* encoder, jahp_target target, double value) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        const std::optional<double> wanted = value == 0 ? std::nullopt : std::optional<double>(value);
        if (target == JAHP_TARGET_BPP) {
            require_usage(std::isfinite(value) && value >= 0,
                          "target_bpp must be a positive number, not " + short_number(value));
            encoder->options.target_bpp = wanted;
        } else {
            require_usage(target == JAHP_TARGET_PSNR, "targets are JAHP_TARGET_BPP and JAHP_TARGET_PSNR");
            require_usage(value >= 0 && value < kBestPsnr,
                          "target_psnr must lie between 0 and 100 dB, not " + short_number(value));
            encoder->options.target_psnr = wanted;
        }
    });
}

jahp_status jahp_encoder_set_cancel(jahp_encoder* encoder, jahp_cancel cancel, void* opaque) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        encoder->common.cancel = cancel;
        encoder->common.opaque = opaque;
    });
}

jahp_status jahp_encoder_set_model(jahp_encoder* encoder, jahp_model* model) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        require_pointer(model, "model");
        encoder->model = model->opened();
    });
}

jahp_status jahp_encoder_set_chunk(jahp_encoder* encoder, const char* type, const uint8_t* data, size_t size) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        require_pointer(type, "type");
        require_usage(data != nullptr || size == 0, "data must not be null");
        const std::string name = type;
        require_usage(name == "iccp" || name == "exif" || name == "xmp_" || name == "cicp",
                      "metadata are iccp, exif, xmp_ or cicp, not " + name);
        require_usage(name != "cicp" || size == 4 || size == 0, "cicp has 4 bytes, not " + std::to_string(size));
        require_usage(size <= UINT32_MAX, "a chunk has at most 4294967295 bytes");
        auto& chunks = encoder->options.chunks;
        std::erase_if(chunks, [&](const auto& chunk) { return chunk.first == name; });
        if (size > 0) chunks.emplace_back(name, Bytes(data, data + size));
    });
}

jahp_status jahp_encoder_encode(jahp_encoder* encoder, const uint8_t* pixels, size_t size, size_t stride,
                                uint32_t width, uint32_t height, uint32_t channels, const uint8_t** data,
                                size_t* data_size) {
    if (encoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(encoder->message, [&] {
        require_pointer(data, "data");
        require_pointer(data_size, "data_size");
        *data = nullptr;
        *data_size = 0;
        require_pointer(pixels, "pixels");
        require_within("channels", channels, 1, 4);
        if (width == 0 || height == 0)
            throw Error(Fault::image,
                        "an image of " + std::to_string(width) + " x " + std::to_string(height) + " pixels is empty");
        require_usage(std::max(width, height) <= INT32_MAX, "width and height must be at most 2147483647");
        const std::uint64_t row = std::uint64_t{width} * channels * static_cast<unsigned>(encoder->sample_bits / 8);
        require_usage(stride >= row, "stride must be at least a row's " + std::to_string(row) + " bytes, not " +
                                         std::to_string(stride));
        require_usage(size >= row && (size - row) / stride >= height - 1,
                      "size is less than what " + std::to_string(height) +
                          " rows take: (height - 1) * stride and a row of " + std::to_string(row) + " bytes");
        PictureView picture{pixels,
                            stride,
                            static_cast<int>(width),
                            static_cast<int>(height),
                            static_cast<int>(channels),
                            encoder->sample_bits == 16 ? encoder->depth : 8,
                            {}};
        EncoderOptions options = encoder->options;
        options.threads = encoder->common.threads;
        options.max_pixels = encoder->common.max_pixels;
        encoder->data = encode_picture(std::move(picture), encoder->model, options, encoder->common.poll());
        *data = encoder->data.data();
        *data_size = encoder->data.size();
    });
}

const char* jahp_encoder_message(const jahp_encoder* encoder) {
    return encoder == nullptr ? "there is no encoder" : encoder->message.shown();
}

}  // extern "C"
