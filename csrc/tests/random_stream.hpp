// SPDX-License-Identifier: Apache-2.0
// Numbered random streams: a whole entropy model, an image's latents and how to code them, all out of one number.
// Integers and a generator of our own alone, so that stream 17 is the same stream with every compiler, library and
// architecture. What a number stands for never changes: stream_digest.golden records results.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/context_decoder.hpp"
#include "core/entropy_model.hpp"

namespace jahp::test {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
class Draw {
public:
    explicit Draw(std::uint64_t seed) : state_(seed) {}
    // low <= result <= high. Two calls in one expression would leave their order to the compiler.
    template <typename T = int>
    T operator()(std::int64_t low, std::int64_t high) {
        return static_cast<T>(low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1)));
    }
    bool one_in(int n) { return (*this)(1, n) == 1; }

private:
    std::uint64_t next();
    std::uint64_t state_;
};

// What a model computes with: `typical` values spread over their ranges; `saturated` layers clamp nearly all outputs;
// `edge` layers have many values at the limits that the format allows, sums of 2^31 - 1 among them.
enum class Extremes { typical, saturated, edge };

struct StreamClass {
    const char* name;
    bool hyper, context, means;
    Form form;
    int activation_bits;
    bool factorized() const { return !hyper && !context; }
};

constexpr std::array kStreamClasses{
    StreamClass{"joint A8", true, true, true, Form::a, 8},
    StreamClass{"joint A16", true, true, true, Form::a, 16},
    StreamClass{"joint B8", true, true, true, Form::b, 8},
    StreamClass{"joint B16", true, true, true, Form::b, 16},
    StreamClass{"context A8", false, true, true, Form::a, 8},
    StreamClass{"context A16", false, true, true, Form::a, 16},
    StreamClass{"context B8", false, true, true, Form::b, 8},
    StreamClass{"context B16", false, true, true, Form::b, 16},
    StreamClass{"mean-scale A8", true, false, true, Form::a, 8},
    StreamClass{"mean-scale A16", true, false, true, Form::a, 16},
    StreamClass{"mean-scale B8", true, false, true, Form::b, 8},
    StreamClass{"mean-scale B16", true, false, true, Form::b, 16},
    StreamClass{"scale A8", true, false, false, Form::a, 8},
    StreamClass{"scale A16", true, false, false, Form::a, 16},
    StreamClass{"factorized", false, false, false, Form::a, 8},
};

class RandomStream {
public:
    explicit RandomStream(std::uint32_t number);

    static int class_of(std::uint32_t number);   // index into kStreamClasses
    EntropyTensors tensors() const;              // views: the stream must live on
    const Latents& latents() const { return latents_; }      // wanted by the encoder, which does not refuse them
    const StreamLayout& layout() const { return layout_; }   // lanes may be 0
    std::string describe() const;                            // one line for messages
    std::uint32_t digest(std::uint32_t crc) const;           // CRC-32C of everything above, continued from crc

private:
    struct Layer {
        std::string name;
        int outputs = 0, inputs = 0, kernel = 0;
        std::vector<std::int8_t> weight;
        std::vector<std::int32_t> bias, mul_pos, mul_neg, shift, zero;
    };
    struct LayerPlan;

    void draw_shape(Draw& draw);
    Layer draw_layer(Draw& draw, const LayerPlan& plan) const;
    void draw_layers(Draw& draw);
    void draw_context_input(Draw& draw);
    void draw_scales(Draw& draw);
    void draw_tables(Draw& draw);
    void draw_latents(Draw& draw);

    const StreamClass& kind() const { return kStreamClasses[static_cast<std::size_t>(class_)]; }
    bool bounded_means() const { return kind().form == Form::b || layout_.skip > 0; }

    std::uint32_t number_;
    int class_ = 0;
    Extremes extremes_ = Extremes::typical;
    int m_ = 0, n_ = 0, kernel_ = 0, mean_bits_ = 0, z_bits_ = 0, prob_bits_ = 0;
    std::int32_t limit_ = 0, rows_ = 0;
    std::deque<Layer> h_s_, context_, parameters_;
    std::vector<std::int32_t> mul_, add_, shift_, z_offset_, thresholds_, scale_row_, scale_drop_, table_low_,
        table_size_;
    std::vector<std::uint16_t> table_starts_;
    Latents latents_;
    StreamLayout layout_;
};

// CRC-32C of 32-bit integers in little-endian order, continued from crc.
std::uint32_t crc_of(const std::vector<std::int32_t>& values, std::uint32_t crc);

}  // namespace jahp::test
