// SPDX-License-Identifier: Apache-2.0
#include "library/deep_layer.hpp"

namespace jahp {

DeepLayer::DeepLayer(const Layer& layer, const std::span<const std::uint8_t>* values, int depth)
    : layer_(layer), depth_(depth) {
    if (values != nullptr) values_ = unpack_values(*values, depth);
}

void DeepLayer::decode(std::span<std::uint16_t> samples, PixelShape shape, int first, int threads,
                       const Poll& poll) const {
    if (layer_.bits == 8) {
        Samples places(samples.size());
        layer_.decode(places, shape, first, threads, poll);
        look_up<std::uint8_t>(places, values_, samples);
    } else {
        layer_.decode(samples, shape, first, threads, poll);
        if (!values_.empty()) look_up<std::uint16_t>(samples, values_, samples);
    }
    widen(samples, depth_);
}

int layer_bits(const std::span<const std::uint8_t>* values, int depth) {
    return values == nullptr ? depth : bits_of_places(count_values(*values, depth));
}

std::vector<std::pair<std::string, std::vector<std::uint8_t>>> pack_deep(std::span<const std::uint16_t> samples,
                                                                         PixelShape shape, int depth, int bound,
                                                                         int threads, const Poll& poll) {
    std::vector<std::uint8_t> plain = pack_exact(samples, shape, depth, bound, threads, poll);
    const std::optional<Values> values = bound == 0 ? sparse_values(samples) : std::nullopt;
    if (!values) return {{"LAYR", std::move(plain)}};
    const int bits = bits_of_places(values->size());
    std::vector<std::uint8_t> layer = bits == 8 ? pack_exact(places8(samples, *values), shape, 0, threads, poll)
                                                : pack_exact(places16(samples, *values), shape, bits, 0, threads, poll);
    std::vector<std::uint8_t> named = pack_values(*values, depth);
    if (layer.size() + named.size() >= plain.size()) return {{"LAYR", std::move(plain)}};
    return {{"LAYR", std::move(layer)}, {"VALS", std::move(named)}};
}

}  // namespace jahp
