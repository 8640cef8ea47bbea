// SPDX-License-Identifier: Apache-2.0
// The whole decode of one or several images in one launch: z, the hyperprior and all wavefront steps, range decoding
// included; or all of an encode but the range coder. This header is plain C++: what the host prepares and hands over.
//
// Each image has a group of `blocks` thread blocks, which meet at barriers. Of every layer a block owns the tiles of 8
// outputs whose number is its rank modulo `blocks`. In a step the group computes, a barrier apart,
//     context (taps of the step before) -> entropy_parameters.0 (context half) -> .2 -> .4, rows and means -> coding
// and while the first warp of the first block decodes the step's symbols, all others take what the next step does not
// owe to them: the older taps and the hyperprior's half. A model without a context has one step of all positions, whose
// rows and means come from h_s, or from no network at all.
//
// What a layer of a step gives to the next one lies in lists: activations in the order of mma's A fragment, for 16
// positions (an m-tile) and each plane and chunk of 32 channels 512 bytes, 16 for each lane of a warp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device_model.hpp"

namespace jahp::cuda {

constexpr int kImagesPerLaunch = 16;
constexpr int kMaxGroup = 16;  // blocks an image
constexpr int kRows = 16;  // positions of an m-tile
constexpr int kFragmentBytes = 512;  // of an m-tile's 32 channels
constexpr int kRingWords = 512;  // words of the payload that lie ready in shared memory, twice
constexpr int kPartPositions = 4;  // that are decoded before the other warps take them up
constexpr int kMaxLanes = 64;
constexpr int kMaxWarps = 32;

// Activation cells in a workspace: cell (row, column) begins at first + row * pitch + column * cell.
struct Cells {
    std::int64_t first, pitch;
    std::int32_t cell, plane;  // bytes of a cell, of one plane in it
};

struct Job {
    const std::uint8_t* payload_dev;
    const std::int32_t* size_dev;  // the payload's bytes, on the device; null: they are payload_bytes
    std::int64_t payload_bytes, min_bytes;  // payload_bytes: below 2^31; at most, if size_dev is given
    std::uint8_t* workspace_dev;  // 256-byte aligned; what it holds does not matter, but for the first 4 bytes: 0
    std::int32_t *z_dev, *y_dev;  // (hz, wz, N) and (h, w, M); encoding: inputs, y times 2^mean_bits in form B, and y
                                  // becomes what a decoder sees
    std::int32_t *rows_dev,
        *shifts_dev;  // null: decode. Encoding: (h, w, M), of each symbol the table's row (-1: not coded) and what the
                      // decoder will add: the whole part of the mean; the mean in form B; all, if it is not coded
    std::int32_t* status_dev;  // 8, zeroed by the caller; [0] code, [1] detail (jahp_fast/backends/device.py)
    std::int32_t height, width, lanes, skip;
    std::int32_t z_row;  // of the tables: z's channel c is coded with row z_row + c
    // Filled in by plan_workspace.
    Cells z_in, middle, wide, hyper, seen;
    std::int64_t zero_bytes;  // from kControlBytes on: cells that have borders
    std::int64_t context_sums, first_sums, rows, means;
    std::int64_t stage;  // see stage_bytes
    std::int64_t lists;  // where they begin, for groups whose shared memory is not distributed
    std::int32_t most;  // positions of the largest step
    std::int32_t context, first,
        second;  // lists, from where they begin; in front of them a word that is not 0 once the image is given up
    std::int32_t list_bytes;
};

constexpr std::int64_t kControlBytes = 256;  // [0] arrivals at grid barriers

// What is copied into shared memory where there is room, in the order in which room is given: a block's tiles of
// weights and of requantisation tables, and small arrays as a whole.
enum Resident {
    kScales,
    kContextInput,
    kOffsets,
    kContextRequant,
    kFirstRequant,
    kSecondRequant,
    kThirdRequant,
    kTables,
    kThird,
    kSecond,
    kFirst,
    kContextNew,
    kContextOld,
    kFirstHyper,
    kResidents
};

struct Part {
    std::int64_t from;  // in the blob
    std::int32_t tile_bytes, tiles;
    std::int32_t tiled;  // a block copies tiles rank, rank + blocks ...; else all of them
    std::int32_t to;  // in a block's shared memory, or -1: it is read from the blob
};

struct Launch {
    DeviceModel model;
    const std::uint8_t* model_dev;  // blob of pack_model
    std::int32_t images, blocks;  // blocks an image: a power of two
    Part parts[2][kResidents];  // of the block that codes, and of others, which need no tables
    std::int32_t lists, stage;  // where they begin in shared memory, or -1: in the workspace
    std::int32_t stage_pitch;  // slots of a position: a multiple of kMaxLanes
    std::int32_t shared_bytes;
    Job jobs[kImagesPerLaunch];
};

// In shared memory: a fault of each warp, and the ring of words.
constexpr std::int32_t kFaultBytes = 8 * kMaxWarps, kFixedShared = kFaultBytes + 2 * 2 * kRingWords;

// Of two stages (coder.cuh): first the rounds of their positions, then the slot of idle lanes, then all others; behind
// those of a stage stand kMaxLanes that may be read ahead.
constexpr std::int32_t kSlotBytes = 16, kRoundsBytes = 2 * kPartPositions * 4;

// Fills in the job's places for its height and width, and returns the bytes that its workspace needs.
std::int64_t plan_workspace(const DeviceModel& model, Job& job);

// Decides what stays in `shared` bytes of each of `blocks` blocks, for the jobs of `launch`; sets blocks, parts, lists,
// stage and shared_bytes. False if the lists are to be distributed and do not fit.
bool plan_shared(int blocks, std::int32_t shared, bool distributed, Launch& launch);

}  // namespace jahp::cuda
