// SPDX-License-Identifier: Apache-2.0
// An entropy model as device code reads it: one blob that starts with a DeviceModel, all places in it as byte offsets.
//
// Activations lie in cells, one a position: `planes` times the channels rounded up to 32, a byte each. 8-bit activations have one
// plane, 13-bit ones two, hi and lo with a = 64 hi + lo and -32 <= lo < 32, so that both are signed bytes and two products give the sum.
// Weights lie in tiles of 8 outputs; a tile is a row of 256-byte chunks (32 inputs of one tap), in each 8 bytes for every lane of a
// warp: the B fragment of mma.m16n8k32. Rests are filled up with weights of 0.
// Outputs of the last layer are interleaved: 2m is the scale of latent m and 2m + 1 its mean, which meet in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace jahp {
struct EntropyTensors;
}

namespace jahp::cuda {

constexpr int kTileOutputs = 8, kChunkInputs = 32, kChunkBytes = kTileOutputs * kChunkInputs;

struct TapOffset {
    std::int32_t row, column;
};

struct Requant {
    std::int32_t bias, mul_pos, mul_neg, shift, zero;
};

// Some taps of some input channels, for all outputs of a layer.
struct Product {
    std::int64_t weights;  // of tiles * taps * chunks chunks
    std::int64_t offsets;  // of `taps` TapOffsets
    std::int32_t taps, chunks, tiles;
    std::int32_t tile_bytes() const;
};

struct Outputs {
    std::int64_t requant;  // of 8 Requants a tile
    std::int32_t count, limit;
};

struct TableRow {
    std::int32_t starts, low, size;  // starts: index of the first
};

struct DeviceModel {
    std::int32_t latents, hyper_latents, planes, limit, form_b, mean_bits, z_bits, prob_bits, slope, half, conv_half;
    std::int32_t scales, rows;
    Product h_s_0[4], h_s_2[4], h_s_4, context_old, context_new, first_hyper, first_context, second, third;
    Outputs h_s_outputs[3], context_outputs, parameter_outputs[3];
    std::int64_t context_mul, context_add, context_shift, z_offset;  // of int32
    std::int64_t thresholds, scale_row, scale_drop;                  // of int32
    std::int64_t table_rows, table_starts;                           // of TableRow, uint16
    std::int64_t bytes;
};

// Checks nothing that EntropyModel's constructor checks: it must have taken the same tensors before.
// Throws Error(usage) for an architecture without a context.
std::vector<std::uint8_t> pack_model(const EntropyTensors& tensors);

}  // namespace jahp::cuda
