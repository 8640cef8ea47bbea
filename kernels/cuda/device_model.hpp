// SPDX-License-Identifier: Apache-2.0
// An entropy model as device code reads it: one blob that starts with a DeviceModel, all places in it as byte offsets.
//
// Activations lie in cells, one a position: `planes` times the channels rounded up to 32, a byte each. 8-bit
// activations have one plane, 13-bit ones two, hi and lo with a = 64 hi + lo and -32 <= lo < 32, so that both are
// signed bytes and two products give the sum. Weights lie in tiles of 8 outputs; a tile is a row of 256-byte chunks (32
// inputs of one tap), in each 8 bytes for every lane of a warp: the B fragment of mma.m16n8k32. Rests are filled up
// with weights of 0. Outputs of the last layer are interleaved: 2m is the scale of latent m and 2m + 1 its mean, which
// meet in one thread; in a model without means those outputs are empty. A table row parts its slots into equal buckets,
// half as many as it has entries, or 16: of each the first entry that has a slot in it or behind it. The ends of a row
// are 0xffff and then the last slot of each entry, the escape's too. All of them are words of 16 bits.
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

struct alignas(8) Words2 {
    std::uint32_t w[2];
};

struct alignas(16) Words4 {
    std::uint32_t w[4];
};

constexpr int kShiftBits = 5, kLeastBuckets = 4;  // a row has 2^4 buckets at least: 2^5 bytes
constexpr std::uint32_t kBucketShift = (1u << kShiftBits) - 1;

// buckets, ends: bytes from the first row on. The low bits of `buckets` are how far a slot is shifted to give its
// bucket. Entries: `size`, the values from `low` on, and the escape.
struct TableRow {
    std::int32_t buckets, ends, low, size;
};
constexpr int kRequantBytes = kTileOutputs * static_cast<int>(sizeof(Requant));

struct DeviceModel {
    std::int32_t latents, hyper_latents, planes, limit, conditional, form_b, mean_bits, z_bits, prob_bits;
    std::int32_t slope, half, conv_half;  // slope: of the wavefront; 0 without a context
    std::int32_t scales, rows;
    Product h_s_0[4], h_s_2[4], h_s_4, context_old, context_new, first_hyper, first_context, second, third;
    Outputs h_s_outputs[3], context_outputs, parameter_outputs[3];
    std::int64_t z_offset, context_mul, context_input_end;  // of int32; context_mul: [M], then additions, then shifts
    std::int64_t thresholds, scales_end;  // of int32: [scales - 1], then the rows and drops of each scale
    std::int32_t idle[2];  // `buckets` and `ends` where there is no symbol
    std::int64_t tables, tables_end, context_offsets_end;  // tables: of TableRow, then all buckets, then all ends
    std::int64_t bytes;
};

// Checks nothing that EntropyModel's constructor checks: it must have taken the same tensors before.
std::vector<std::uint8_t> pack_model(const EntropyTensors& tensors);

}  // namespace jahp::cuda
