// SPDX-License-Identifier: Apache-2.0
#include "library/picture.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "library/little_endian.hpp"

namespace jahp {

namespace {

constexpr std::uint32_t kMost = 65535, kQuarters = 1020;  // white: of 16 bits, and in quarters of a level

// Calls take(value) for samples [0, count) of the pixels [0, wide) of a row; beyond the picture its last pixel repeats.
template <typename T, typename Take>
void each_sample(const T* row, const PictureView& picture, int wide, const Take& take) {
    for (int x = 0; x < wide; ++x) {
        const T* pixel = row + std::min(x, picture.width - 1) * picture.channels;
        for (int c = 0; c < 3; ++c) take(pixel[picture.mode() == Mode::rgb ? c : 0]);
    }
}

std::uint8_t narrowed(std::uint16_t sample) { return static_cast<std::uint8_t>((sample + 128u) / 257u); }

}  // namespace

void PictureView::widen() {
    const std::size_t row_samples = product(width, channels);
    deep.resize(row_samples * static_cast<std::size_t>(height));
    for (int y = 0; y < height; ++y)
        std::memcpy(deep.data() + static_cast<std::size_t>(y) * row_samples, row(y),
                    row_samples * sizeof(std::uint16_t));
    const std::uint32_t most = (1u << depth) - 1, largest = *std::max_element(deep.begin(), deep.end());
    if (largest > most)
        throw Error(Fault::image, "a sample of " + std::to_string(largest) +
                                      " has more than depth = " + std::to_string(depth) + " bits");
    jahp::widen(deep, depth);
}

Samples PictureView::samples() const {
    const auto n = static_cast<std::size_t>(channels_of(mode())), each = static_cast<std::size_t>(channels);
    const std::size_t columns = static_cast<std::size_t>(width);
    Samples out(product(width, height, channels_of(mode())));
    std::uint8_t* to = out.data();
    for (int y = 0; y < height; ++y)
        for (std::size_t x = 0; x < columns; ++x)
            for (std::size_t c = 0; c < n; ++c)
                *to++ = is_deep() ? narrowed(deep[(static_cast<std::size_t>(y) * columns + x) * each + c])
                                  : row(y)[x * each + c];
    return out;
}

bool PictureView::has_one_colour() const {
    if (is_deep()) return false;
    const auto n = static_cast<std::size_t>(channels_of(mode())), each = static_cast<std::size_t>(channels);
    for (int y = 0; y < height; ++y)
        for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x)
            if (!std::equal(pixels, pixels + n, row(y) + x * each)) return false;
    return true;
}

DeepSamples PictureView::deep_samples() const {
    const auto n = static_cast<std::size_t>(channels_of(mode())), each = static_cast<std::size_t>(channels);
    DeepSamples out(product(width, height, channels_of(mode())));
    for (std::size_t i = 0; i < out.size() / n; ++i)
        for (std::size_t c = 0; c < n; ++c) out[i * n + c] = deep[i * each + c];
    return out;
}

DeepSamples PictureView::exact_samples() const {
    DeepSamples out = deep_samples();
    for (std::uint16_t& sample : out) sample = static_cast<std::uint16_t>(sample >> (16 - depth));
    return out;
}

Samples PictureView::alpha(bool lower) const {
    Samples out;
    out.reserve(product(width, height));
    const std::size_t columns = static_cast<std::size_t>(width), each = static_cast<std::size_t>(channels);
    for (int y = 0; y < height; ++y)
        for (std::size_t x = 0; x < columns; ++x) {
            const std::size_t at = x * each + each - 1;
            if (!is_deep()) {
                out.push_back(row(y)[at]);
                continue;
            }
            const std::uint16_t sample = deep[static_cast<std::size_t>(y) * columns * each + at];
            out.push_back(static_cast<std::uint8_t>(lower ? sample : sample >> 8));
        }
    return out;
}

void PictureView::activations(int first, int count, int wide, std::vector<std::int16_t>& out) const {
    out.resize(product(count, wide, 3));
    std::int16_t* to = out.data();
    for (int y = first; y < first + count; ++y) {
        const int inside = std::min(y, height - 1);
        if (is_deep())
            each_sample(deep.data() + product(inside, width, channels), *this, wide, [&](std::uint32_t sample) {
                *to++ = static_cast<std::int16_t>((sample * kQuarters + kMost / 2) / kMost);
            });
        else
            each_sample(row(inside), *this, wide, [&](std::uint8_t sample) { *to++ = sample; });
    }
}

DeepSamples widened(std::span<const std::uint8_t> samples) {
    DeepSamples out(samples.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint16_t>(samples[i] * 257);
    return out;
}

void widen(std::span<std::uint16_t> samples, int depth) {
    const std::uint32_t most = (1u << depth) - 1;
    if (most == kMost) return;
    for (std::uint16_t& sample : samples) sample = static_cast<std::uint16_t>((sample * kMost + most / 2) / most);
}

Samples narrowed(std::span<const std::uint16_t> samples) {
    Samples out(samples.size());
    std::transform(samples.begin(), samples.end(), out.begin(), [](std::uint16_t sample) { return narrowed(sample); });
    return out;
}

Samples bytes_of(std::span<const std::uint16_t> samples) {
    Samples out;
    out.reserve(2 * samples.size());
    for (const std::uint16_t sample : samples) put_u16(out, sample);
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
