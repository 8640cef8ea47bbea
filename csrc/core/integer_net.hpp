// SPDX-License-Identifier: Apache-2.0
// Integer layers (docs/format.md, "Integer arithmetic"): int8 weights, activations of 8 or 13 bits, 32-bit sums, and
//
//     out = clamp(((sum * (sum < 0 ? mul_neg : mul_pos) + 2^(shift-1)) >> shift) + zero, -limit, limit),  sum = bias + products
//
// in 64 bits with an arithmetic shift. Leaky ReLU is the choice of the multiplier, so it costs no rounding of its own. The
// zero point lets an activation that is hardly ever negative use the whole range; convolutions pad with integer 0, so
// what they read has zero points of 0.
// Activations are int16 in memory whatever their width. Where an instruction set multiplies bytes, layers with 8-bit inputs
// narrow them on the way in; otherwise one kernel serves both widths.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/thread_team.hpp"
#include "simd/dot_i16.hpp"
#include "simd/dot_i8.hpp"
#include "simd/requantise.hpp"

namespace jahp {

struct Tap {
    int row, column;  // relative to the output position, in input pixels
};

// Views of one layer's tensors in a model file; read in constructors only.
struct LayerTensors {
    std::string name;                     // for messages
    int outputs, inputs, kernel;          // kernel x kernel taps
    std::span<const std::int8_t> weight;  // [outputs][inputs][kernel][kernel]
    std::span<const std::int32_t> bias, mul_pos, mul_neg, shift, zero;  // [outputs]
};

// A height x width x channels image of activations, channels last.
struct Plane {
    Plane() = default;
    Plane(int h, int w, int c);
    int height = 0, width = 0, channels = 0;
    std::vector<std::int16_t> data;
    std::int16_t* at(int row, int column) { return data.data() + offset(row, column); }
    const std::int16_t* at(int row, int column) const { return data.data() + offset(row, column); }

  private:
    std::size_t offset(int row, int column) const {
        return (static_cast<std::size_t>(row) * static_cast<std::size_t>(width) + static_cast<std::size_t>(column)) *
               static_cast<std::size_t>(channels);
    }
};

// One thread's memory for IntegerLayer::apply; grows to what is needed and stays.
struct LayerScratch {
    std::vector<std::int32_t> sums;
    std::vector<std::uint8_t> bytes;
    std::vector<std::int16_t> gathered;  // for callers: what apply reads
};

// A layer that sees `taps` of its input around each position: a 1x1 layer, a convolution, one phase of a transposed
// convolution or the causal half of a masked one. Immutable after construction, shared between threads.
class IntegerLayer {
  public:
    // taps[i] is kernel cell cells[i] (row * kernel + column). in_limit bounds |input|, out_limit is the clamp.
    // Throws Error(model) if a tensor has the wrong length, a multiplier or shift is out of range, or a sum of products
    // could reach 2^31.
    IntegerLayer(const LayerTensors& tensors, std::vector<Tap> taps, std::span<const int> cells, std::int32_t in_limit,
                 std::int32_t out_limit, Isa isa);

    int inputs() const { return inputs_; }
    int outputs() const { return outputs_; }
    int depth() const { return depth_; }  // of a gathered input: taps x inputs, rounded up to kDotDepthMultiple

    // The input of one position, zeros where a tap falls outside of the plane and in the padding. out: depth() values.
    void gather(const Plane& plane, int row, int column, std::int16_t* out) const;

    // positions x depth() inputs, `in_stride` apart -> positions x outputs() results, out_stride apart. Inputs beyond the
    // taps are read but do not matter.
    template <typename Out>
    void apply(const std::int16_t* in, int in_stride, int positions, LayerScratch& scratch, Out* out, int out_stride) const;

  private:
    void pack(const LayerTensors& tensors, std::span<const int> cells, std::int32_t in_limit);
    void products(const std::int16_t* in, int in_stride, int positions, LayerScratch& scratch) const;

    int inputs_, outputs_, depth_;
    int padded_outputs_;  // to a multiple of 16
    std::int32_t out_limit_;
    std::vector<Tap> taps_;
    DotI16 dot_i16_;
    DotI8 dot_i8_;                         // null: not for these inputs or this instruction set
    std::vector<std::int16_t> weight_i16_;  // [outputs][depth], or empty
    std::vector<std::int8_t> weight_i8_;    // as dot_i8 wants them, or empty
    Requantise requantise_;
    std::vector<std::int32_t> bias_, mul_pos_, mul_neg_, shift_, zero_;  // padded_outputs_ each
};

// A 1x1 layer, a convolution with stride 1 and zero padding, and the causal part of a masked convolution (raster order).
IntegerLayer dense_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa);
IntegerLayer conv_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa);
IntegerLayer masked_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa);

// The transposed convolution 5x5, stride 2, padding 2, output padding 1, as its four phases: out(2r+a, 2c+b) is phase
// 2a + b at (r, c).
class TransposedLayer {
  public:
    TransposedLayer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa);
    int outputs() const { return phases_[0].outputs(); }
    int inputs() const { return phases_[0].inputs(); }

    // in: h x w -> the upper left height x width of the 2h x 2w output.
    Plane apply(const Plane& in, int height, int width, ThreadTeam& team) const;

  private:
    std::vector<IntegerLayer> phases_;
};

}  // namespace jahp
