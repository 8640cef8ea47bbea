// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <vector>

#include "library/c_calls.hpp"
#include "library/picture_decoder.hpp"
#include "library/sha256.hpp"

using namespace jahp;

struct jahp_decoder {
    Message message;
    CommonOptions options;
    std::size_t channels = 0, bits = 8;
    std::vector<std::shared_ptr<CodecModel>> models;

    // Of the open file.
    std::optional<Stream> stream;
    std::size_t length = 0;
    int threads = 1, channels_given = 0, bits_given = 8;
    View view{};
    Poll poll;
    std::unique_ptr<PictureDecoder> rows;  // made with the first row
    PictureDecoder::Rows held;             // of which `given` are with the caller
    int given = 0;
    std::uint32_t done = 0;
    bool failed = false;
    Samples image;

    const Stream& opened() const {
        require_usage(stream.has_value(), "no file is open: call jahp_decoder_open first");
        return *stream;
    }
    bool begun() const { return rows != nullptr || done > 0 || failed; }
    // Frees what decoding the file has taken.
    void let_go() {
        rows.reset();
        held = {};
        given = 0;
    }
    void close() {
        let_go();
        stream.reset();
        image = {};
        done = 0;
        failed = false;
    }
    std::uint32_t height() const { return static_cast<std::uint32_t>(view.height); }
    std::size_t row_size() const { return product(view.width, channels_given, bits_given / 8); }
    std::shared_ptr<CodecModel> model() const {
        for (const auto& model : models)
            if (model->file().id() == stream->model) return model;
        throw Error(Fault::unknown_model,
                    "the stream was written by model " + hexadecimal(stream->model) +
                        ", which the decoder does not have; hand it over with jahp_decoder_add_model");
    }
    // Rows for the caller, as many as are held and wanted; 0 behind the last one.
    int take(std::uint8_t* pixels, std::size_t stride, int most);
    // The row of the held ones that is next.
    template <typename T>
    void join_row(std::span<const T> samples, std::span<const T> alpha, std::uint8_t* to) const {
        const std::size_t width = product(view.width, 1), at = static_cast<std::size_t>(given) * width;
        const auto n = static_cast<std::size_t>(channels_of(stream->mode));
        join<T>(samples.subspan(at * n, width * n), stream->mode, alpha.empty() ? alpha : alpha.subspan(at, width),
                channels_given, to);
    }
};

int jahp_decoder::take(std::uint8_t* pixels, std::size_t stride, int most) {
    require_usage(!failed, "decoding this file has failed: open it anew");
    if (done == height()) return 0;
    try {
        if (rows == nullptr)
            rows = std::make_unique<PictureDecoder>(*stream, stream->exact() ? nullptr : model(), view, threads, poll);
        if (given == held.count) {
            held = rows->next();
            given = 0;
        }
    } catch (...) {  // whatever it was: what has been decoded is of no use
        failed = true;
        let_go();
        throw;
    }
    const int count = std::min(most, held.count - given);
    for (int i = 0; i < count; ++i, ++given) {
        std::uint8_t* to = pixels + static_cast<std::size_t>(i) * stride;
        if (bits_given == 16)
            join_row<std::uint16_t>(held.deep, held.deep_alpha, to);
        else
            join_row<std::uint8_t>(held.samples, held.alpha, to);
    }
    done += static_cast<std::uint32_t>(count);
    if (done == height()) let_go();
    return count;
}

extern "C" {

jahp_decoder* jahp_decoder_new(void) { return new (std::nothrow) jahp_decoder; }

void jahp_decoder_free(jahp_decoder* decoder) { delete decoder; }

jahp_status jahp_decoder_set(jahp_decoder* decoder, jahp_option option, size_t value) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        if (decoder->options.set(option, value)) return;
        if (option == JAHP_SAMPLE_BITS) {
            require_usage(value == 8 || value == 16, "JAHP_SAMPLE_BITS must be 8 or 16, not " + std::to_string(value));
            decoder->bits = value;
            return;
        }
        require_usage(option == JAHP_CHANNELS,
                      "decoders have no such option: they have JAHP_THREADS, JAHP_MAX_PIXELS, JAHP_CHANNELS and "
                      "JAHP_SAMPLE_BITS");
        require_usage(value == 0 || value == 4, "JAHP_CHANNELS must be 0 or 4, not " + std::to_string(value));
        decoder->channels = value;
    });
}

jahp_status jahp_decoder_set_cancel(jahp_decoder* decoder, jahp_cancel cancel, void* opaque) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        decoder->options.cancel = cancel;
        decoder->options.opaque = opaque;
    });
}

jahp_status jahp_decoder_add_model(jahp_decoder* decoder, jahp_model* model) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        require_pointer(model, "model");
        decoder->models.push_back(model->opened());
    });
}

jahp_status jahp_decoder_open(jahp_decoder* decoder, const uint8_t* data, size_t size) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        decoder->close();
        require_usage(data != nullptr || size == 0, "data must not be null");
        decoder->stream = unpack({data, size}, decoder->options.max_pixels);
        decoder->length = size;
        decoder->threads = decoder->options.threads;
        decoder->bits_given = static_cast<int>(decoder->bits);
        decoder->view = whole_view(decoder->stream->height, decoder->stream->width, decoder->bits == 16);
        decoder->poll = decoder->options.poll();
        const bool alpha = decoder->stream->chunk("ALPH") != nullptr;
        decoder->channels_given = decoder->channels == 4 || alpha ? 4 : channels_of(decoder->stream->mode);
    });
}

jahp_status jahp_decoder_set_view(jahp_decoder* decoder, int32_t scale, const jahp_region* region) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        const Stream& stream = decoder->opened();
        require_usage(!decoder->begun(), "rows of this file have been decoded: open it anew");
        Region part{};
        if (region != nullptr) part = {region->left, region->top, region->width, region->height};
        const View view = view_of(stream.height, stream.width, scale, region == nullptr ? nullptr : &part,
                                  decoder->bits_given == 16);
        require_usage(
            view.scale == 1 || decoder->bits_given == 8,
            "a picture at scale " + std::to_string(view.scale) + " has 8 bits: leave out JAHP_SAMPLE_BITS, or scale");
        decoder->view = view;
    });
}

jahp_status jahp_decoder_get_info(jahp_decoder* decoder, jahp_info* info, size_t info_size) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        const Stream& stream = decoder->opened();
        jahp_info out{};
        out.width = static_cast<std::uint32_t>(stream.width);
        out.height = static_cast<std::uint32_t>(stream.height);
        out.channels = static_cast<std::uint32_t>(decoder->channels_given);
        out.grey = stream.mode == Mode::grey;
        out.alpha = stream.chunk("ALPH") != nullptr;
        out.max_error = stream.exact() ? stream.layer->bound : -1;
        out.quality = stream.asked_quality();
        out.base_quality = stream.layer && stream.layer->kind == LayerKind::residual ? stream.quality() : 0;
        hexadecimal(stream.model).copy(out.model, sizeof out.model - 1);
        out.lanes = static_cast<std::uint8_t>(stream.lanes);
        out.skip = static_cast<std::uint8_t>(stream.skip);
        out.depth = static_cast<std::uint8_t>(stream.depth());
        out.view_width = static_cast<std::uint32_t>(decoder->view.width);
        out.view_height = decoder->height();
        out.pixels_size = std::uint64_t{decoder->row_size()} * out.view_height;
        out.payload_size = stream.payload.size();
        copy_info(out, info, info_size);
    });
}

jahp_status jahp_decoder_get_chunk(jahp_decoder* decoder, const char* type, const uint8_t** data, size_t* size) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        require_pointer(type, "type");
        require_pointer(data, "data");
        require_pointer(size, "size");
        const BytesView* chunk = decoder->opened().chunk(type);
        *data = chunk == nullptr ? nullptr : chunk->data();
        *size = chunk == nullptr ? 0 : chunk->size();
    });
}

jahp_status jahp_decoder_rows(jahp_decoder* decoder, uint8_t* pixels, size_t size, size_t stride, uint32_t* rows) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        require_pointer(rows, "rows");
        *rows = 0;
        decoder->opened();
        require_pointer(pixels, "pixels");
        const std::size_t row = decoder->row_size();
        require_usage(stride >= row, "stride must be at least a row's " + std::to_string(row) + " bytes, not " +
                                         std::to_string(stride));
        require_usage(size >= row,
                      "size must be at least a row's " + std::to_string(row) + " bytes, not " + std::to_string(size));
        const std::size_t most = std::min<std::size_t>((size - row) / stride + 1, kMostSide);
        *rows = static_cast<std::uint32_t>(decoder->take(pixels, stride, static_cast<int>(most)));
    });
}

jahp_status jahp_decoder_image(jahp_decoder* decoder, const uint8_t** pixels, size_t* size) {
    if (decoder == nullptr) return JAHP_USAGE_ERROR;
    return guarded(decoder->message, [&] {
        require_pointer(pixels, "pixels");
        require_pointer(size, "size");
        *pixels = nullptr;
        *size = 0;
        decoder->opened();
        const std::size_t row = decoder->row_size();
        const std::uint32_t height = decoder->height();
        Samples image((height - decoder->done) * row);
        for (std::uint8_t* at = image.data(); decoder->done < height;)
            at += row * static_cast<std::size_t>(decoder->take(at, row, static_cast<int>(height - decoder->done)));
        decoder->image = std::move(image);
        *pixels = decoder->image.data();
        *size = decoder->image.size();
    });
}

const char* jahp_decoder_message(const jahp_decoder* decoder) {
    return decoder == nullptr ? "there is no decoder" : decoder->message.shown();
}

}  // extern "C"
