// SPDX-License-Identifier: Apache-2.0
// Payload <-> latents of one image: z, the hyperprior, then ŷ step by step along the wavefront.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/entropy_model.hpp"

namespace jahp {

// All arrays are channels last. y is ŷ, in form B times 2^mean_bits.
struct Latents {
    int height = 0, width = 0;              // of y
    int hyper_height = 0, hyper_width = 0;  // of z: a quarter, rounded up; 0 without hyperprior
    std::vector<std::int32_t> y;            // height x width x M
    std::vector<std::int32_t> z;            // hyper_height x hyper_width x N
};

struct StreamLayout {
    int height = 0, width = 0;   // of y, at least 1
    int lanes = 8;               // 1, 2, 4 ... 64; the encoder takes 0 for RangeEncoder::choose_lanes()
    int skip = 0;                // 0: every symbol is coded; s: those with scale index below s are not
    std::size_t min_bytes = 0;   // of the payload
    // Of each position of z and then of y, by row and column: 0, its symbols are coded; 1, they are those of the
    // position to its left; 2, of the one above. Empty: all are coded.
    std::vector<std::uint8_t> copies = {};
    int z_row = 0;  // of the tables: z's channel c is coded with row z_row + c
};

struct StageTimes {     // wall seconds of the calling thread
    double h_s = 0;      // the hyperprior's features
    double ahead = 0;  // offering the older taps and the hyperprior's half, and what was left of them when the coder
                       // was done
    double context = 0;  // the layers that wait for the step before
    double coder = 0;  // range coding, and making its symbols known
};

// The sum over all symbols of mix(index, value), modulo 2^32; docs/reference/format.md, "Checksum of the symbols".
std::uint32_t symbol_checksum(std::span<const std::int32_t> z, std::span<const std::int32_t> y);

// Throws Error(format) for a damaged payload, Error(usage) for an impossible layout. threads >= 1.
Latents decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                       int threads, StageTimes* times = nullptr);

// Told after every step while latents are decoded, by the thread that decodes: all arrays have their size and their
// place, and rows [0, rows) of y will not change any more. `rows` never falls from call to call. What it throws ends
// the decode.
using RowsFinal = std::function<void(int rows)>;

// The same into `out`, whose arrays are replaced.
void decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                    int threads, Latents& out, StageTimes* times, const RowsFinal& rows_final);

// Takes the M values of ŷ at a position: each position once, in the order of coding.
using TakeLatents = std::function<void(Position at, std::span<const std::int32_t> y)>;

// The same for those who keep only what they need: no array of all of ŷ is made. Returns symbol_checksum() of all.
std::uint32_t decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload,
                             const StreamLayout& layout, int threads, const TakeLatents& take,
                             const RowsFinal& rows_final);

// Called after every step by the thread that encodes. What it throws ends the encode.
using Poll = std::function<void()>;

// Encodes z and y. Form A: y is ŷ already, all positions are treated in parallel. Form B: y is the wanted value times
// 2^mean_bits. Where residuals are rounded (form B), symbols skipped or positions copied, z and y are replaced by what
// the decoder will see, in wavefront order. layout.lanes is replaced by the number chosen if it was 0. Throws
// Error(usage) for a symbol beyond 32767 or arrays that do not fit the layout.
std::vector<std::uint8_t> encode_latents(const EntropyModel& model, Latents& latents, StreamLayout& layout, int threads,
                                         StageTimes* times = nullptr, const Poll& poll = {});

// How every symbol of y is coded when z and y are what they are: height x width x M, channels last. For encoders that
// weigh other values against those. Form A alone: throws Error(usage) for form B and for arrays that do not fit each
// other.
std::vector<Symbol> symbols_of(const EntropyModel& model, const Latents& latents, int threads, const Poll& poll = {});

}  // namespace jahp
