// SPDX-License-Identifier: Apache-2.0
#include "symbol_checksum.cuh"

#include <algorithm>

#include "core/symbol_mix.hpp"

namespace jahp::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // a block
constexpr int kWarps = kThreads / kWarp;
constexpr std::size_t kMaxBlocks = 1024;  // several waves of any device; beyond that the blocks loop

__device__ std::uint32_t warp_sum(std::uint32_t v) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_down_sync(0xffffffffu, v, offset);
    return v;
}

// Addition modulo 2^32 is associative, so the order in which blocks arrive does not matter.
__global__ void __launch_bounds__(kThreads)
    checksum_kernel(const std::int32_t* __restrict__ z, std::size_t z_count, const std::int32_t* __restrict__ y,
                    std::size_t y_count, std::uint32_t* __restrict__ sum) {
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * kThreads;
    const std::size_t total = z_count + y_count;
    std::uint32_t own = 0;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += stride) {
        const std::int32_t value = i < z_count ? z[i] : y[i - z_count];
        own += symbol_mix(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(value));
    }
    __shared__ std::uint32_t warps[kWarps];
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    own = warp_sum(own);
    if (lane == 0) warps[warp] = own;
    __syncthreads();
    if (warp != 0) return;
    own = warp_sum(lane < kWarps ? warps[lane] : 0u);
    if (lane == 0) atomicAdd(sum, own);
}

}  // namespace

cudaError_t symbol_checksum(const std::int32_t* z_dev, std::size_t z_count, const std::int32_t* y_dev,
                            std::size_t y_count, std::uint32_t* sum, cudaStream_t stream) {
    void* memory = nullptr;
    cudaError_t error = cudaMallocAsync(&memory, sizeof *sum, stream);
    if (error != cudaSuccess) return error;
    const auto sum_dev = static_cast<std::uint32_t*>(memory);
    std::uint32_t result = 0;
    error = cudaMemsetAsync(sum_dev, 0, sizeof *sum_dev, stream);
    const std::size_t blocks = std::min((z_count + y_count + kThreads - 1) / kThreads, kMaxBlocks);
    if (error == cudaSuccess && blocks > 0) {
        checksum_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(z_dev, z_count, y_dev, y_count,
                                                                                sum_dev);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess) error = cudaMemcpyAsync(&result, sum_dev, sizeof result, cudaMemcpyDeviceToHost, stream);
    const cudaError_t freed = cudaFreeAsync(sum_dev, stream);
    const cudaError_t synced = cudaStreamSynchronize(stream);  // before `result` goes out of scope, even after an error
    for (const cudaError_t later : {synced, freed})
        if (error == cudaSuccess) error = later;
    if (error == cudaSuccess) *sum = result;
    return error;
}

}  // namespace jahp::cuda
