// SPDX-License-Identifier: Apache-2.0
// Integer layers (docs/reference/format.md, "Integer arithmetic"): int8 weights, activations of 8 or 13 bits,
// 32-bit sums, and
//
//     out = clamp(((sum * (sum < 0 ? mul_neg : mul_pos) + 2^(shift-1)) >> shift) + zero, -limit, limit),  sum = bias +
//     products
//
// in 64 bits with an arithmetic shift. Leaky ReLU is the choice of the multiplier, so it costs no rounding of its own.
// The zero point lets an activation that is hardly ever negative use the whole range; convolutions pad with integer 0,
// so what they read has zero points of 0.
//
// Outputs come in blocks of 16, weights are packed by block once, when the model is loaded. A layer's products may be
// taken in parts (the taps that are known early, one half of the inputs) whose sums add up.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/aligned.hpp"
#include "core/plane.hpp"
#include "core/thread_team.hpp"
#include "simd/dot.hpp"
#include "simd/requantise.hpp"

namespace jahp {

struct Tap {
    int row, column;  // relative to the output position, in input pixels
    int cell;         // of the kernel, row * kernel + column
};

// Views of one layer's tensors in a model file; read in constructors only.
struct LayerTensors {
    std::string name;                     // for messages
    int outputs, inputs, kernel;          // kernel x kernel taps
    std::span<const std::int8_t> weight;  // [outputs][inputs][kernel][kernel]
    std::span<const std::int32_t> bias, mul_pos, mul_neg, shift, zero;  // [outputs]
};

// Products that are taken together: these taps, of `inputs` input channels from `first_input` on.
struct LayerPart {
    std::vector<Tap> taps;
    int first_input, inputs;
};

// Blocks of outputs as they stand, or in turn one of the first half (scales) and one of the second (means), each half
// padded.
enum class BlockOrder { plain, halves };

// Immutable after construction, shared between threads.
class IntegerLayer {
public:
    // in_limit bounds |input|, out_limit is the clamp. Throws Error(model) if a tensor has the wrong length, a
    // multiplier or shift is out of range, or a sum of products could reach 2^31.
    IntegerLayer(const LayerTensors& tensors, std::vector<LayerPart> parts, std::int32_t in_limit,
                 std::int32_t out_limit, Isa isa, BlockOrder order = BlockOrder::plain);

    int inputs() const { return inputs_; }    // of the whole layer
    int outputs() const { return outputs_; }
    int blocks() const { return blocks_; }
    int pitch() const { return blocks_ * kDotOutputs; }
    const DotKernel& kernel() const { return kernel_; }
    const std::vector<Tap>& taps(int part) const { return parts_[static_cast<std::size_t>(part)].taps; }
    int groups_per_tap(int part) const { return parts_[static_cast<std::size_t>(part)].groups_per_tap; }

    // The groups of all taps of a part, for inputs that lie in a plane of this geometry (0, 0 for a layer of one tap at
    // 0, 0).
    std::vector<DotGroup> groups(int part, int row_pitch, int pitch) const;

    // Fills in weights and blocks and multiplies; `blocks` of them from `first` on. The rest of `arguments` is the
    // caller's.
    void products(int part, DotArguments arguments, int first, int blocks) const;

    // Bias, rounding and clamp for those blocks. Out is the kernel's type of activations, or int32.
    template <typename Out>
    void requantise(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int first, int blocks,
                    Out* out, std::ptrdiff_t out_stride) const;
    // The same into activations of the kernel's type.
    void activate(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int first, int blocks, void* out,
                  std::ptrdiff_t out_stride) const;

private:
    struct Packed {
        std::vector<Tap> taps;
        int first_input, inputs, groups_per_tap;
        std::ptrdiff_t block_stride;  // bytes
        AlignedVector<std::uint8_t> weight;
    };
    int slot(int output) const;  // where an output stands among blocks() * 16
    void pack(const LayerTensors& tensors, Packed& part) const;

    int inputs_, outputs_, blocks_;
    std::int32_t out_limit_;
    BlockOrder order_;
    DotKernel kernel_;
    Requantise requantise_;
    std::vector<Packed> parts_;
    std::vector<std::int32_t> bias_, mul_pos_, mul_neg_, shift_, zero_;  // pitch() each
};

// A 1x1 layer, a convolution with stride 1, and the causal part of a masked convolution (raster order), in one part.
IntegerLayer dense_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa,
                         BlockOrder order = BlockOrder::plain);
IntegerLayer conv_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa,
                        BlockOrder order = BlockOrder::plain);

// The masked convolution in two parts: taps that lie two wavefront steps back or more, and those of the last step. The
// second part is never empty, the first is for kernels of 3 and more.
enum MaskedPart { kOldTaps, kNewTaps };
IntegerLayer masked_layer(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit, Isa isa);

// The transposed convolution 5x5, stride 2, padding 2, output padding 1, as its four phases: out(2r+a, 2c+b) is phase
// 2a + b at (r, c).
std::vector<IntegerLayer> transposed_layers(const LayerTensors& tensors, std::int32_t in_limit, std::int32_t out_limit,
                                            Isa isa);

struct RowRange {
    int first, end;
};

// A stride-1 convolution of one part over the upper left of `in`, into these rows of `out`; and a transposed one. in's
// border is at least 1. `in` must have all rows that they read, of those that its image has.
void convolve(const IntegerLayer& layer, const Plane& in, Plane& out, RowRange rows, ThreadTeam& team);
void convolve_transposed(std::span<const IntegerLayer> phases, const Plane& in, Plane& out, RowRange rows,
                         ThreadTeam& team);

}  // namespace jahp
