// SPDX-License-Identifier: Apache-2.0
// Starts the kernels of context_decode.cuh on a device.
#pragma once

#include <cuda_runtime_api.h>

#include "context_decode.hpp"

namespace jahp::cuda {

// Decodes `images` images of one model, up to kImagesPerLaunch a launch: from compute capability 9.0 on in clusters of 16 blocks an image (8, 4 ... where
// the device has no room for those), on 8.x in cooperative grids.
// model: the head of the blob that lies at model_dev, in host memory. jobs: planned by plan_workspace. Queued on `stream` of the
// current device; waits for nothing.
cudaError_t context_decode(const DeviceModel& model, const std::uint8_t* model_dev, const Job* jobs, int images, cudaStream_t stream);

}  // namespace jahp::cuda
