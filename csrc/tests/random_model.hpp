// SPDX-License-Identifier: Apache-2.0
// Small random entropy models and what they code, for the tests and the fuzz targets.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/context_decoder.hpp"
#include "core/entropy_model.hpp"
#include "tests/check.hpp"

namespace jahp::test {

// `rows` distributions of 1 to 24 values around 0, some flat, some with one value that has nearly everything.
struct RandomTables {
    RandomTables(Random& random, int prob_bits, int rows);
    std::vector<std::int32_t> low, size;
    std::vector<std::uint16_t> starts;
};

// Owns the tensors of one layer whose outputs are spread over the range of `out_limit`.
struct RandomLayer {
    RandomLayer(Random& random, std::string name, int outputs, int inputs, int kernel, int taps, std::int32_t in_limit,
                std::int32_t out_limit);
    LayerTensors tensors() const;
    std::string name;
    int outputs, inputs, kernel;
    std::vector<std::int8_t> weight;
    std::vector<std::int32_t> bias, mul_pos, mul_neg, shift, zero;
};

struct ModelShape {
    bool hyper = true, context = true;
    Form form = Form::a;
    int activation_bits = 8;
    int kernel = 5;
    int prob_bits = 15;
    int latents = 7, hyper_latents = 5;
    bool factorized() const { return !hyper && !context; }
};

// Joint, context-only, mean-scale or factorised by its shape; the same seed gives the same model.
class RandomModel {
public:
    RandomModel(const ModelShape& shape, std::uint32_t seed);
    std::unique_ptr<EntropyModel> build(Isa isa) const { return std::make_unique<EntropyModel>(tensors(), isa); }
    EntropyTensors tensors() const;

private:
    ModelShape shape_;
    std::deque<RandomLayer> h_s_, context_, parameters_;
    std::vector<std::int32_t> mul_, add_, shift_, z_offset_, thresholds_, row_, drop_;
    std::unique_ptr<RandomTables> tables_;
};

// Mostly small symbols; one in `rare` anywhere in ±32767.
Latents random_latents(const EntropyModel& model, Random& random, int height, int width, int rare);

// StreamLayout::copies: every other position is a copy, where it can be.
std::vector<std::uint8_t> random_copies(const EntropyModel& model, Random& random, int height, int width);

}  // namespace jahp::test
