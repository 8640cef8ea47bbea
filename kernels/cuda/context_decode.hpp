// SPDX-License-Identifier: Apache-2.0
// The whole decode of one or several images in one launch: z, the hyperprior and all wavefront steps, range decoding included.
// This header is plain C++: what the host prepares and hands over.
//
// Each image has a group of `blocks` thread blocks, which meet at barriers. Of every layer a block owns the tiles of 8 outputs whose
// number is its rank modulo `blocks`. In a step the group computes, a barrier apart,
//     context (taps of the step before) -> entropy_parameters.0 (context half) -> .2 -> .4, rows and means -> coding
// and while the first warp of the first block decodes the step's symbols, all others take what the next step does not owe to
// them: the older taps and the hyperprior's half.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device_model.hpp"

namespace jahp::cuda {

constexpr int kImagesPerLaunch = 12;  // as many as kernel parameters of 4 KB hold
constexpr int kMaxGroup = 16;  // blocks an image

// Activation cells in a workspace: cell (row, column) begins at first + row * pitch + column * cell. pitch 0: a list, by index.
struct Cells {
    std::int64_t first, pitch;
    std::int32_t cell, plane;  // bytes of a cell, of one plane in it
};

struct Job {
    const std::uint8_t* payload_dev;
    std::int64_t payload_bytes, min_bytes;
    std::uint8_t* workspace_dev;  // 256-byte aligned; what it holds does not matter, but for the first 4 bytes: 0
    std::int32_t *z_dev, *y_dev;  // (hz, wz, N) and (h, w, M)
    std::int32_t* status_dev;     // 8, zeroed by the caller; [0] code, [1] detail (jahp_fast/backends/device.py)
    std::int32_t height, width, lanes, skip;
    // Filled in by plan_workspace.
    Cells z_in, middle, wide, hyper, seen, context, first, second;
    std::int64_t zero_bytes;  // from kControlBytes on: cells that have borders
    std::int64_t context_sums, first_sums, symbols;
};

constexpr std::int64_t kControlBytes = 256;  // [0] arrivals at grid barriers, [1] not 0: the image is given up

// Products whose weights may stay in shared memory, in the order in which room is given.
enum { kThird, kSecond, kFirst, kContextNew, kContextOld, kFirstHyper, kResidents };

struct Launch {
    const std::uint8_t* model_dev;  // blob of pack_model
    std::int32_t images, blocks;    // blocks an image
    std::int32_t resident[kResidents];  // where a block's tiles of a product begin in its shared memory, or -1: read from the blob
    std::int32_t shared_bytes;
    Job jobs[kImagesPerLaunch];
};
static_assert(sizeof(Launch) <= 4096);

// Fills in the job's places for its height and width, and returns the bytes that its workspace needs.
std::int64_t plan_workspace(const DeviceModel& model, Job& job);

// Decides what stays in `shared` bytes of each of `blocks` blocks; sets blocks, resident and shared_bytes.
void plan_shared(const DeviceModel& model, int blocks, std::int32_t shared, Launch& launch);

}  // namespace jahp::cuda
