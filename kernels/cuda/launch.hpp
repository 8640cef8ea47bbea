// SPDX-License-Identifier: Apache-2.0
// Starts the kernels of context_decode.cuh on a device.
#pragma once

#include <cuda_runtime_api.h>

#include "context_decode.hpp"

namespace jahp::cuda {

// Decodes `images` images of one model, up to kImagesPerLaunch a launch, each by as many blocks (16, 8, 4, 2 or 1) as
// let all images of a launch run at once: in clusters from compute capability 9.0 on, in cooperative grids on 8.x.
// model: the head of the blob that lies at model_dev, in host memory. jobs: planned by plan_workspace. Queued on
// `stream` of the current device; waits for nothing.
cudaError_t context_decode(const DeviceModel& model, const std::uint8_t* model_dev, const Job* jobs, int images,
                           cudaStream_t stream);

}  // namespace jahp::cuda
