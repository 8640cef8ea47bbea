// SPDX-License-Identifier: Apache-2.0
// One image by one group of blocks, from its payload to z and ŷ; context_decode.hpp tells the plan.
#pragma once

#include "coder.cuh"

namespace jahp::cuda {

template <class Group>
struct ImageDecoder {
    const Net& net;
    const DeviceModel& model;
    const Job& job;
    Group& group;
    Coder coder;

    JAHP_DEVICE ImageDecoder(const Net& n, Group& g)
        : net(n), model(n.model), job(n.job), group(g), coder(n.model, n.launch.model_dev, n.job, n.place.lane) {}

    JAHP_DEVICE std::int32_t* given_up() const { return reinterpret_cast<std::int32_t*>(job.workspace_dev) + 1; }

    // All threads of the group: clears cells and brings in the weights that stay.
    JAHP_DEVICE void prepare(std::uint8_t* shared) {
        const Place& place = net.place;
        const int threads = 32 * place.warps, thread = 32 * place.warp + place.lane;
        if (place.rank == 0 && thread == 0) store(given_up(), 0);
        auto* cells = reinterpret_cast<std::uint32_t*>(job.workspace_dev + kControlBytes);
        for (std::int64_t i = place.rank * threads + thread; i < job.zero_bytes / 4; i += place.blocks * threads) store(cells + i, 0);
        const Product* products[kResidents] = {&model.third,       &model.second,      &model.first_context,
                                               &model.context_new, &model.context_old, &model.first_hyper};
        for (int r = 0; r < kResidents; ++r) {
            const std::int32_t to = net.launch.resident[r];
            if (to < 0) continue;
            const int words = products[r]->taps * products[r]->chunks * kChunkBytes / 4;
            auto* out = reinterpret_cast<std::uint32_t*>(shared + to);
            for (int tile = place.rank; tile < products[r]->tiles; tile += place.blocks, out += words) {
                const auto* in = reinterpret_cast<const std::uint32_t*>(net.blob() + products[r]->weights) + static_cast<std::int64_t>(tile) * words;
                for (int i = thread; i < words; i += threads) store(out + i, in[i]);
            }
        }
    }

    // The coding warp: all of z.
    JAHP_DEVICE void decode_z(int hz, int wz) {
        const int n = model.hyper_latents;
        const auto* offset = reinterpret_cast<const std::int32_t*>(net.blob() + model.z_offset);
        for (int p = 0; p < hz * wz && coder.code == kSound; ++p) {
            std::int32_t* z = job.z_dev + static_cast<std::int64_t>(p) * n;
            std::uint8_t* cell = cell_at(job, job.z_in, all_positions(hz, wz), p);
            coder.position(
                n, true, [&](int c, std::int32_t&) { return c; },
                [&](int c, std::int32_t value) {
                    store(z + c, value);
                    const std::int64_t in = std::int64_t{value} * (1 << model.z_bits) + offset[c];
                    store_activation(cell, job.z_in, model.planes, c, clamp(in, model.limit));
                });
        }
    }

    // The coding warp: the symbols of a step, and what the context sees of them.
    JAHP_DEVICE void decode_step(const Positions& at) {
        const auto* mul = reinterpret_cast<const std::int32_t*>(net.blob() + model.context_mul);
        const auto* add = reinterpret_cast<const std::int32_t*>(net.blob() + model.context_add);
        const auto* shift = reinterpret_cast<const std::int32_t*>(net.blob() + model.context_shift);
        const auto* symbol = reinterpret_cast<const std::int32_t*>(job.workspace_dev + job.symbols);
        for (int p = 0; p < at.count && coder.code == kSound; ++p, symbol += 2 * model.latents) {
            int row, column;
            locate(at, p, row, column);
            std::int32_t* y = job.y_dev + (static_cast<std::int64_t>(row) * job.width + column) * model.latents;
            std::uint8_t* cell = cell_at(job, job.seen, at, p);
            coder.position(
                model.latents, false,
                [&](int c, std::int32_t& mean) {
                    mean = load(symbol + 2 * c + 1);
                    return load(symbol + 2 * c);
                },
                [&](int c, std::int32_t value) {
                    store(y + c, value);
                    store_activation(cell, job.seen, model.planes, c, clamp((std::int64_t{value} * mul[c] + add[c]) >> shift[c], model.limit));
                });
        }
    }

    // What the networks of a step need not wait for. Where there are others, the coding warp leaves it to them.
    JAHP_DEVICE void ahead(const Positions& at) {
        const int first_warp = net.place.rank == 0 && net.place.warps > 1 ? 1 : 0;
        net.to_sums(model.context_old, kContextOld, job.seen, at, first_warp, job.context_sums);
        if (model.hyper_latents > 0) net.to_sums(model.first_hyper, kFirstHyper, job.hyper, at, first_warp, job.first_sums);
    }

    JAHP_DEVICE void hyperprior(int hz, int wz) {
        net.transposed(model.h_s_0, model.h_s_outputs[0], job.z_in, all_positions(hz, wz), job.middle);
        group.sync();
        net.transposed(model.h_s_2, model.h_s_outputs[1], job.middle, all_positions(2 * hz, 2 * wz), job.wide);
        group.sync();
        net.activate(model.h_s_4, -1, model.h_s_outputs[2], job.wide, all_positions(job.height, job.width), -1, job.hyper, 1, 0, 0);
        group.sync();
    }

    JAHP_DEVICE void networks(const Positions& at) {
        net.activate(model.context_new, kContextNew, model.context_outputs, job.seen, at, job.context_sums, job.context, 1, 0, 0);
        group.sync();
        net.activate(model.first_context, kFirst, model.parameter_outputs[0], job.context, at, model.hyper_latents > 0 ? job.first_sums : -1,
                     job.first, 1, 0, 0);
        group.sync();
        net.activate(model.second, kSecond, model.parameter_outputs[1], job.first, at, -1, job.second, 1, 0, 0);
        group.sync();
        net.to_symbols(at);
        group.sync();
    }

    JAHP_DEVICE void report() {
        if (coder.code == kSound || net.place.lane != 0) return;
        store(job.status_dev, coder.code);
        store(job.status_dev + 1, static_cast<std::int32_t>(coder.detail));
    }

    // The coding warp makes an error known; behind the next barrier all threads of the group agree.
    JAHP_DEVICE void give_up_if_damaged() {
        report();
        if (coder.code != kSound && net.place.lane == 0) store(given_up(), 1);
    }

    JAHP_DEVICE void run(std::uint8_t* shared) {
        const int hz = model.hyper_latents > 0 ? (job.height + 3) / 4 : 0, wz = model.hyper_latents > 0 ? (job.width + 3) / 4 : 0;
        prepare(shared);
        group.sync();
        if (net.place.codes()) {
            coder.start(static_cast<std::int64_t>(hz) * wz * model.hyper_latents + static_cast<std::int64_t>(job.height) * job.width * model.latents);
            decode_z(hz, wz);
            give_up_if_damaged();
        }
        group.sync();
        if (load(given_up()) != 0) return;
        if (model.hyper_latents > 0) hyperprior(hz, wz);
        const int steps = job.width + model.slope * (job.height - 1);
        Positions at = step_positions(job, model.slope, 0);
        ahead(at);
        group.sync();
        for (int t = 0; t < steps; ++t) {
            if (at.count > 0) networks(at);
            const Positions next = step_positions(job, model.slope, t + 1);  // behind the last step there are none
            if (net.place.codes()) {
                decode_step(at);
                give_up_if_damaged();
            }
            ahead(next);
            group.sync();
            if (load(given_up()) != 0) return;
            at = next;
        }
        if (!net.place.codes()) return;
        coder.finish();
        report();
    }
};

// The body of a kernel: `launch.blocks` blocks an image.
template <class Group>
JAHP_DEVICE void decode_images(const Launch& launch, Group& group, std::uint8_t* shared) {
    const DeviceModel& model = *reinterpret_cast<const DeviceModel*>(launch.model_dev);
    const int image = block_index() / launch.blocks;
    const Place place{block_index() % launch.blocks, launch.blocks, thread_index() / 32, thread_count() / 32, thread_index() % 32};
    const Net net{model, launch, launch.jobs[image], shared, place};
    ImageDecoder<Group> decoder(net, group);
    decoder.run(shared);
}

}  // namespace jahp::cuda
