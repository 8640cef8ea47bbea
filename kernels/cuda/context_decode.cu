// SPDX-License-Identifier: Apache-2.0
#include "launch.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "context_decode.cuh"

namespace jahp::cuda {
namespace {

constexpr int kThreads = 256;  // a block: the coding warp and seven others
constexpr int
    kLeastGroup = 8;  // blocks an image that a launch of several wants, so that its weights stay in shared memory
constexpr std::int32_t kSharedLeft = 1024;  // what a launch reserves for itself

extern __shared__ __align__(256) std::uint8_t shared_bytes[];

__global__ void __launch_bounds__(kThreads, 1) context_decode_cluster(const __grid_constant__ Launch launch) {
    ClusterGroup group;
    decode_images(launch, group, shared_bytes);
}

__global__ void __launch_bounds__(kThreads, 1) context_decode_grid(const __grid_constant__ Launch launch) {
    GridGroup group{reinterpret_cast<std::uint32_t*>(launch.jobs[block_index() / launch.blocks].workspace_dev),
                    static_cast<std::uint32_t>(launch.blocks), 0};
    decode_images(launch, group, shared_bytes);
}

// Launches if clusters of that size can be had; `fits` says so.
cudaError_t launch_cluster(const Launch& launch, cudaStream_t stream, bool& fits) {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(launch.blocks);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(launch.images * launch.blocks));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = static_cast<std::size_t>(launch.shared_bytes);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    cudaError_t error = cudaFuncSetAttribute(context_decode_cluster, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             launch.shared_bytes);
    if (error == cudaSuccess)
        error = cudaFuncSetAttribute(context_decode_cluster, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    int clusters = 0;
    if (error == cudaSuccess) error = cudaOccupancyMaxActiveClusters(&clusters, context_decode_cluster, &config);
    if (error == cudaErrorInvalidClusterSize) {
        cudaGetLastError();  // so that the next call does not report it
        error = cudaSuccess;
    }
    fits = error == cudaSuccess && clusters > 0;
    if (!fits) return error;
    return cudaLaunchKernelEx(&config, context_decode_cluster, launch);
}

cudaError_t launch_grid(const Launch& launch, cudaStream_t stream) {
    const cudaError_t error = cudaFuncSetAttribute(context_decode_grid, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   launch.shared_bytes);
    if (error != cudaSuccess) return error;
    void* arguments[] = {const_cast<Launch*>(&launch)};
    const dim3 blocks(static_cast<unsigned>(launch.images * launch.blocks));
    return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(context_decode_grid), blocks, dim3(kThreads),
                                       arguments, static_cast<std::size_t>(launch.shared_bytes), stream);
}

}  // namespace

cudaError_t context_decode(const DeviceModel& model, const std::uint8_t* model_dev, const Job* jobs, int images,
                           cudaStream_t stream) {
    int device = 0, major = 0, multiprocessors = 0, shared = 0;
    cudaError_t error = cudaGetDevice(&device);
    for (const auto& [value, attribute] : {std::pair{&major, cudaDevAttrComputeCapabilityMajor},
                                           std::pair{&multiprocessors, cudaDevAttrMultiProcessorCount},
                                           std::pair{&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin}})
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, device);
    if (error == cudaSuccess && major < 8) error = cudaErrorNoKernelImageForDevice;
    for (int done = 0; done < images && error == cudaSuccess;) {
        Launch launch{};
        launch.model = model;
        launch.model_dev = model_dev;
        // Groups that are resident all at once, as a cooperative grid must be; the fewer images, the larger.
        launch.images = std::min({images - done, kImagesPerLaunch, std::max(multiprocessors / kLeastGroup, 1)});
        int group = kMaxGroup;
        while (group * launch.images > multiprocessors && group > 1) group /= 2;
        std::copy(jobs + done, jobs + done + launch.images, launch.jobs);
        for (int i = 0; i < launch.images && error == cudaSuccess; ++i)
            error = cudaMemsetAsync(launch.jobs[i].workspace_dev, 0, sizeof(std::uint32_t), stream);
        bool launched = false;
        for (int blocks = group; major >= 9 && blocks >= 1 && !launched && error == cudaSuccess; blocks /= 2)
            if (plan_shared(blocks, shared - kSharedLeft, true, launch))
                error = launch_cluster(launch, stream, launched);
        if (!launched && error == cudaSuccess) {  // no clusters, or lists beyond shared memory
            plan_shared(group, shared - kSharedLeft, false, launch);
            error = launch_grid(launch, stream);
        }
        done += launch.images;
    }
    return error;
}

}  // namespace jahp::cuda
