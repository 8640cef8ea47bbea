// SPDX-License-Identifier: Apache-2.0
// Exact pixels of 9 to 16 bits: a layer of them, or of their places among the values that occur
// (docs/reference/format.md, "Few values"); as jahp_fast.files.deep_layers has them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "library/layer_chunk.hpp"
#include "residual/value_set.hpp"

namespace jahp {

class DeepLayer {
public:
    // layer: of a file of that depth; values: the data of its chunk, null if it has none. Error(format) where these are
    // damaged. The layer must outlive this.
    DeepLayer(const Layer& layer, const std::span<const std::uint8_t>* values, int depth);

    // As Layer::decode, samples of 16 bits: 65535 is white. Error(format) also for a sample that is no value.
    void decode(std::span<std::uint16_t> samples, PixelShape shape, int first, int threads, const Poll& poll) const;

private:
    const Layer& layer_;
    const int depth_;
    Values values_;
};

// Bits of the samples that a layer of a file of that depth codes. Error(format) as count_values.
int layer_bits(const std::span<const std::uint8_t>* values, int depth);

// The chunks, by type, that keep each sample of `depth` bits to within `bound`: LAYR, and VALS where that is smaller.
std::vector<std::pair<std::string, std::vector<std::uint8_t>>> pack_deep(std::span<const std::uint16_t> samples,
                                                                         PixelShape shape, int depth, int bound,
                                                                         int threads, const Poll& poll);

}  // namespace jahp
