// SPDX-License-Identifier: Apache-2.0
#include "library/picture.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace jahp {

Samples PictureView::samples() const {
    const int n = channels_of(mode());
    Samples out(product(width, height, n));
    std::uint8_t* to = out.data();
    for (int y = 0; y < height; ++y) {
        const std::uint8_t* from = row(y);
        for (int x = 0; x < width; ++x, from += channels) to = std::copy_n(from, n, to);
    }
    return out;
}

Samples PictureView::alpha() const {
    Samples out;
    out.reserve(product(width, height));
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) out.push_back(row(y)[x * channels + channels - 1]);
    return out;
}

void PictureView::activations(int first, int count, int wide, std::vector<std::int16_t>& out) const {
    out.resize(product(count, wide, 3));
    std::int16_t* to = out.data();
    for (int y = first; y < first + count; ++y) {
        const std::uint8_t* from = row(std::min(y, height - 1));
        for (int x = 0; x < wide; ++x) {
            const std::uint8_t* pixel = from + std::min(x, width - 1) * channels;
            for (int c = 0; c < 3; ++c) *to++ = pixel[mode() == Mode::rgb ? c : 0];
        }
    }
}

DeepSamples widened(std::span<const std::uint8_t> samples) {
    DeepSamples out(samples.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint16_t>(samples[i] * 257);
    return out;
}

template <typename T>
std::vector<T> grey_of(std::span<const T> rgb) {
    std::vector<T> out(rgb.size() / 3);
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<T>((rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2] + 1) / 3);
    return out;
}
template Samples grey_of(std::span<const std::uint8_t>);
template DeepSamples grey_of(std::span<const std::uint16_t>);

template <typename T>
void join(std::span<const T> samples, Mode mode, std::span<const T> alpha, int channels, std::uint8_t* out) {
    const auto put = [&](T value) {
        std::memcpy(out, &value, sizeof value);
        out += sizeof value;
    };
    if (channels == channels_of(mode)) {
        std::memcpy(out, samples.data(), samples.size_bytes());
        return;
    }
    const std::size_t n = static_cast<std::size_t>(channels_of(mode)), pixels = samples.size() / n;
    for (std::size_t i = 0; i < pixels; ++i) {
        for (std::size_t c = 0; c < 3; ++c) put(samples[i * n + (n == 3 ? c : 0)]);
        if (channels == 4) put(alpha.empty() ? std::numeric_limits<T>::max() : alpha[i]);
    }
}
template void join(std::span<const std::uint8_t>, Mode, std::span<const std::uint8_t>, int, std::uint8_t*);
template void join(std::span<const std::uint16_t>, Mode, std::span<const std::uint16_t>, int, std::uint8_t*);

}  // namespace jahp
