// SPDX-License-Identifier: Apache-2.0
#include "library/container.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "library/deep_layer.hpp"
#include "library/json_text.hpp"
#include "library/little_endian.hpp"
#include "library/sha256.hpp"

namespace jahp {
namespace {

constexpr int kVersion = 1;
constexpr std::uint64_t kPixelsPerByte = 16384;
constexpr const char* kKnown[] = {"ALPH", "COPY", "LAYR", "alpl", "VALS", "cicp",
                                  "deep", "pcrc", "iccp", "exif", "xmp_"};

void require(bool holds, const std::string& what) {
    if (!holds) throw Error(Fault::format, what);
}

std::string sides(std::uint32_t width, std::uint32_t height) {
    return std::to_string(width) + " x " + std::to_string(height);
}

// A type of chunk in quotes. Bytes that are no ASCII are escaped twice, as Python shows what it has escaped.
std::string shown(BytesView type) {
    std::string text;
    for (const std::uint8_t byte : type) {
        if (byte < 128) {
            text += static_cast<char>(byte);
            continue;
        }
        text += "\\x" + hexadecimal({&byte, 1});
    }
    return quoted(text);
}

Chunks parse_chunks(BytesView data) {
    Chunks chunks;
    std::size_t at = 0;
    while (at < data.size()) {
        require(data.size() - at >= 8, "a chunk header is cut short");
        const BytesView type = data.subspan(at, 4);
        const std::uint32_t length = get_u32(data, at + 4);
        const std::string name(type.begin(), type.end()), said = "chunk " + shown(type);
        const bool letters = std::all_of(type.begin(), type.end(), [](std::uint8_t b) {
            return (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || b == '_';
        });
        require(letters, "chunk type " + shown(type) + " is not made of letters");
        require(length <= data.size() - at - 8,
                said + " claims " + std::to_string(length) + " bytes, more than there are");
        const auto same = [&](const auto& chunk) { return chunk.first == name; };
        require(std::none_of(chunks.begin(), chunks.end(), same), said + " is there twice");
        const bool known = std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown);
        require(known || type[0] < 'A' || type[0] > 'Z', "critical " + said + " is unknown to this release");
        const std::uint32_t wanted = name == "pcrc" || name == "cicp" ? 4 : name == "deep" ? 1 : length;
        require(length == wanted, said + " has " + std::to_string(length) + " bytes, not " + std::to_string(wanted));
        chunks.emplace_back(name, data.subspan(at + 8, length));
        at += 8 + length;
    }
    return chunks;
}

}  // namespace

const BytesView* Stream::chunk(const std::string& type) const {
    for (const auto& [name, data] : chunks)
        if (name == type) return &data;
    return nullptr;
}

int Stream::depth() const {
    const BytesView* deep = chunk("deep");
    return deep == nullptr ? 8 : deep->front();
}

double Stream::asked_quality() const {
    if (!layer || layer->kind == LayerKind::overlay) return quality();
    if (layer->exact()) return 0;
    return std::nearbyint(kQualitySteps * (9 + std::log(layer->step / 192.0) / std::log(0.75))) / kQualitySteps;
}

std::size_t least_payload(int width, int height) {
    return static_cast<std::size_t>((std::uint64_t(width) * std::uint64_t(height) + kPixelsPerByte - 1) /
                                    kPixelsPerByte);
}

Stream unpack(BytesView data, std::uint64_t max_pixels) {
    require(data.size() >= 4 && std::equal(data.begin(), data.begin() + 4, "JAHP"),
            "not a .jahp file: it does not start with 'JAHP'");
    require(data.size() >= kHeaderBytes, "file of " + std::to_string(data.size()) + " bytes is shorter than a header");
    const int version = data[4], mode = data[5], log_lanes = data[6];
    const std::uint32_t width = get_u32(data, 16), height = get_u32(data, 20), quality = get_u16(data, 24),
                        reserved = get_u16(data, 26), payload_bytes = get_u32(data, 28),
                        chunk_bytes = get_u32(data, 32);
    require(version == kVersion, "version " + std::to_string(version) + " is unknown; this release reads version 1");
    const std::uint64_t length = std::uint64_t{kHeaderBytes} + payload_bytes + chunk_bytes;
    require(length == data.size(),
            "file has " + std::to_string(data.size()) + " bytes, but its header speaks of " + std::to_string(length));
    require(crc32c(data.subspan(kHeaderBytes), crc32c(data.first(kHeaderBytes - 4))) == get_u32(data, 40),
            "CRC-32C does not match: the file is damaged");
    require(mode <= 1, "image mode " + std::to_string(mode) + " is unknown");
    require(log_lanes <= 6, "2^" + std::to_string(log_lanes) + " lanes are too many");
    require(reserved == 0, "a reserved field is not zero");
    require(quality >= kQualitySteps && quality <= 8 * kQualitySteps,
            "quality code " + std::to_string(quality) + " is not in 20..160");
    require(width > 0 && width <= kMostSide && height > 0 && height <= kMostSide,
            "image of " + sides(width, height) + " pixels: sides must be 1 to " + std::to_string(kMostSide));
    const std::uint64_t pixels = std::uint64_t{width} * height;
    require(pixels <= kPixelsPerByte * payload_bytes,
            sides(width, height) + " pixels are too many for " + std::to_string(payload_bytes) + " bytes of payload");
    require(pixels <= max_pixels,
            sides(width, height) + " pixels are more than max_pixels = " + std::to_string(max_pixels));
    Stream stream{static_cast<int>(width),
                  static_cast<int>(height),
                  static_cast<Mode>(mode),
                  static_cast<int>(quality),
                  {},
                  1 << log_lanes,
                  data[7],
                  get_u32(data, 36),
                  data.subspan(kHeaderBytes, payload_bytes),
                  parse_chunks(data.subspan(kHeaderBytes + payload_bytes)),
                  std::nullopt};
    std::copy_n(data.begin() + 8, stream.model.size(), stream.model.begin());
    if (stream.chunk("deep") != nullptr)
        require(stream.depth() >= 9 && stream.depth() <= 16,
                "samples of " + std::to_string(stream.depth()) + " bits: chunk 'deep' has 9 to 16");
    const BytesView* values = stream.chunk("VALS");
    require(values == nullptr || stream.depth() > 8, "chunk 'VALS' is there, and chunk 'deep' is not");
    if (const BytesView* chunk = stream.chunk("LAYR"))
        stream.layer = parse_layer(*chunk, stream.height, "the layer over the pixels",
                                   layer_bits(values, stream.depth()));
    require(values == nullptr || (stream.exact() && stream.layer->bound == 0),
            "chunk 'VALS' is there, and no pixels without any error are");
    if (stream.exact()) {
        const auto zeros = [](const auto& bytes) {
            return std::all_of(bytes.begin(), bytes.end(), [](int b) { return b == 0; });
        };
        require(zeros(stream.model) && stream.payload.size() == least_payload(stream.width, stream.height) &&
                    zeros(stream.payload) && stream.chunk("COPY") == nullptr,
                "a file of exact pixels names a model or has latents, and should have zeros there");
    }
    return stream;
}

Bytes pack(const Stream& stream) {
    Bytes body(stream.payload.begin(), stream.payload.end());
    for (const auto& [type, data] : stream.chunks) {
        body.insert(body.end(), type.begin(), type.end());
        put_u32(body, static_cast<std::uint32_t>(data.size()));
        body.insert(body.end(), data.begin(), data.end());
    }
    Bytes out;
    out.reserve(kHeaderBytes + body.size());
    out.assign({'J', 'A', 'H', 'P', kVersion, static_cast<std::uint8_t>(stream.mode),
                static_cast<std::uint8_t>(std::countr_zero(static_cast<unsigned>(stream.lanes))),
                static_cast<std::uint8_t>(stream.skip)});
    out.insert(out.end(), stream.model.begin(), stream.model.end());
    put_u32(out, static_cast<std::uint32_t>(stream.width));
    put_u32(out, static_cast<std::uint32_t>(stream.height));
    put_u16(out, static_cast<std::uint32_t>(stream.quality_code));
    put_u16(out, 0);
    put_u32(out, static_cast<std::uint32_t>(stream.payload.size()));
    put_u32(out, static_cast<std::uint32_t>(body.size() - stream.payload.size()));
    put_u32(out, stream.checksum);
    put_u32(out, crc32c(body, crc32c(out)));
    out.insert(out.end(), body.begin(), body.end());
    return out;
}

int layer_step(double quality) { return static_cast<int>(std::nearbyint(192 * std::pow(0.75, quality - 9))); }

double smooth_base(double quality) { return quality <= 10.5 ? 7 : 5; }

}  // namespace jahp
