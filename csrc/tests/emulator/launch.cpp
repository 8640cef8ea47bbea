// SPDX-License-Identifier: Apache-2.0
// kernels/cuda/launch.hpp and symbol_checksum.cuh by the emulator: together with kernels/cuda/bindings.cpp an extension
// _cuda whose device is the host (tests/support/emulated_cuda.py builds it). Every launch has another schedule and
// shape; clusters and grids take turns.
#include "launch.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "context_decode.cuh"
#include "core/symbol_mix.hpp"
#include "emulator.hpp"
#include "symbol_checksum.cuh"

namespace {

std::string last_message;
std::int64_t last_counts[5];

}  // namespace

// Of the last launch: blocks an image, whether they were clusters, and emulator::Counts.
extern "C" __attribute__((visibility("default"))) void jahp_emulated_counts(std::int64_t* out) {
    std::copy_n(last_counts, 5, out);
}

const char* cudaGetErrorString(cudaError_t) { return last_message.c_str(); }

namespace jahp::cuda {
namespace {

constexpr int kThreads = 64;

// Watched copies of an image's arrays while a launch runs.
class Arrays {
public:
    Arrays(emulator::Grid& grid, const DeviceModel& model, Job& job) {
        const auto hz = static_cast<std::size_t>((job.height + 3) / 4),
                   wz = static_cast<std::size_t>((job.width + 3) / 4);
        const std::size_t z = hz * wz * static_cast<std::size_t>(model.hyper_latents);
        const std::size_t y = static_cast<std::size_t>(job.height) * static_cast<std::size_t>(job.width) *
                              static_cast<std::size_t>(model.latents);
        adopt(grid, job.z_dev, z);
        adopt(grid, job.y_dev, y);
        adopt(grid, job.rows_dev, y);
        adopt(grid, job.shifts_dev, y);
        adopt(grid, job.status_dev, 8);
        Job plan = job;
        job.workspace_dev = static_cast<std::uint8_t*>(
            grid.take(static_cast<std::size_t>(plan_workspace(model, plan))));
    }
    void give_back() const {
        for (const auto& [theirs, ours, count] : copies_) std::copy_n(ours, count, theirs);
    }

private:
    struct Copy {
        std::int32_t *theirs, *ours;
        std::size_t count;
    };
    void adopt(emulator::Grid& grid, std::int32_t*& pointer, std::size_t count) {
        if (pointer == nullptr) return;
        auto* ours = static_cast<std::int32_t*>(grid.take(4 * count));
        std::copy_n(pointer, count, ours);
        copies_.push_back({pointer, ours, count});
        pointer = ours;
    }
    std::vector<Copy> copies_;
};

}  // namespace

cudaError_t context_decode(const DeviceModel& model, const std::uint8_t* model_dev, const Job* jobs, int images,
                           cudaStream_t) {
    static std::uint64_t launches = 0;
    for (int done = 0; done < images;) {
        const std::uint64_t turn = ++launches;
        const bool cluster = turn % 2 == 0;
        Launch launch{};
        launch.model = model;
        launch.model_dev = model_dev;
        launch.images = std::min(images - done, kImagesPerLaunch);
        std::copy_n(jobs + done, launch.images, launch.jobs);
        std::size_t memory = 0;
        for (int i = 0; i < launch.images; ++i) {
            Job plan = launch.jobs[i];
            const auto positions = static_cast<std::size_t>(plan.height) * static_cast<std::size_t>(plan.width);
            memory += static_cast<std::size_t>(plan_workspace(model, plan)) + 4096;
            memory += 4 * positions * static_cast<std::size_t>(3 * model.latents + model.hyper_latents) +
                      64 * static_cast<std::size_t>(model.hyper_latents);
        }
        if (!plan_shared(1 << turn % 3, 1 << 20, cluster, launch))
            return last_message = "lists do not fit", cudaErrorUnknown;
        emulator::Grid grid(
            {launch.blocks * launch.images, kThreads, launch.blocks, static_cast<std::size_t>(launch.shared_bytes)},
            turn, memory);
        std::vector<Arrays> arrays;
        for (int i = 0; i < launch.images; ++i) arrays.emplace_back(grid, model, launch.jobs[i]);
        const auto kernel = [&](auto group) { decode_images(launch, group, emulator::shared_memory()); };
        last_message = grid.run([&] { cluster ? kernel(EmulatedGroup<true>{}) : kernel(EmulatedGroup<false>{}); });
        if (!last_message.empty()) return cudaErrorUnknown;
        const auto [barriers, products, remote_words] = grid.counts();
        const std::int64_t counts[] = {launch.blocks, cluster, barriers, products, remote_words};
        std::copy_n(counts, 5, last_counts);
        for (const Arrays& image : arrays) image.give_back();
        done += launch.images;
    }
    return cudaSuccess;
}

cudaError_t symbol_checksum(const std::int32_t* z_dev, std::size_t z_count, const std::int32_t* y_dev,
                            std::size_t y_count, std::uint32_t* sum, cudaStream_t) {
    *sum = 0;
    for (std::size_t i = 0; i < z_count + y_count; ++i)
        *sum += symbol_mix(static_cast<std::uint32_t>(i),
                           static_cast<std::uint32_t>(i < z_count ? z_dev[i] : y_dev[i - z_count]));
    return cudaSuccess;
}

}  // namespace jahp::cuda
