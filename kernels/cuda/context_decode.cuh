// SPDX-License-Identifier: Apache-2.0
// One image by one group of blocks, from its payload to z and ŷ, or from z and y to what a range coder needs;
// context_decode.hpp tells the plan.
#pragma once

#include "reveal.cuh"

namespace jahp::cuda {

template <class Group>
struct ImageDecoder {
    const Net<Group>& net;
    const DeviceModel& model;
    const Job& job;
    const Place& place;
    const TableRow* table;
    Coder coder;
    std::int64_t fault = kNoFault;  // this thread's first, of symbols that it revealed

    JAHP_DEVICE explicit ImageDecoder(const Net<Group>& n)
        : net(n), model(n.model()), job(n.job), place(n.place),
          table(reinterpret_cast<const TableRow*>(n.part(kTables, n.model().tables))),
          coder(n.model(), n.job, reinterpret_cast<std::uint32_t*>(n.shared + kFaultBytes), n.place.lane) {}

    JAHP_DEVICE bool encodes() const { return job.rows_dev != nullptr; }
    JAHP_DEVICE std::uint32_t* given_up() const { return reinterpret_cast<std::uint32_t*>(net.lists()); }
    JAHP_DEVICE bool is_given_up() const { return load(given_up()) != 0; }  // behind a barrier, in all threads alike

    // All threads of the group: clears cells and brings in what stays.
    JAHP_DEVICE void prepare() {
        const int threads = 32 * place.warps, thread = 32 * place.warp + place.lane;
        if (thread == 0 && (Group::kDistributed || place.rank == 0)) store(given_up(), 0);
        if (thread == 0 && place.rank == 0) store(idle_slot(stage_memory()), no_symbol());
        auto* cells = reinterpret_cast<std::uint32_t*>(job.workspace_dev + kControlBytes);
        for (std::int64_t i = place.rank * threads + thread; i < job.zero_bytes / 4; i += place.blocks * threads)
            store(cells + i, 0);
        for (const Part& part : net.launch.parts[place.rank == 0 ? 0 : 1]) {
            if (part.to < 0) continue;
            const int words = part.tile_bytes / 4;
            auto* out = reinterpret_cast<std::uint32_t*>(net.shared + part.to);
            for (int tile = part.tiled != 0 ? place.rank : 0; tile < part.tiles; tile += place.blocks, out += words) {
                const auto* in = reinterpret_cast<const std::uint32_t*>(net.launch.model_dev + part.from) +
                                 static_cast<std::int64_t>(tile) * words;
                for (int i = thread; i < words; i += threads) store(out + i, in[i]);
            }
        }
    }

    JAHP_DEVICE std::uint8_t* stage_memory() const {
        return net.launch.stage >= 0 ? net.shared + net.launch.stage : job.workspace_dev + job.stage;
    }
    JAHP_DEVICE static Slot* idle_slot(std::uint8_t* memory) { return reinterpret_cast<Slot*>(memory + kRoundsBytes); }
    JAHP_DEVICE Slot no_symbol() const {
        return {{static_cast<std::uint32_t>(model.idle[0]), static_cast<std::uint32_t>(model.idle[1]), 0, 0xffffffffu}};
    }
    // Of the two stages that of a part which begins with this position.
    JAHP_DEVICE Stage stage_of(std::uint8_t* memory, int begin) const {
        const int which = begin / kPartPositions & 1, pitch = net.launch.stage_pitch;
        return {reinterpret_cast<std::int32_t*>(memory) + which * kPartPositions,
                idle_slot(memory) + 1 + which * (kPartPositions * pitch + kMaxLanes), pitch};
    }

    // A warp a position: its coded symbols, in their order, and slots without one up to the end of a round.
    JAHP_DEVICE void stage(const Source& source, int begin, int first_warp) const {
        constexpr int kTogether = 4;  // loads under way
        const Stage to = stage_of(stage_memory(), begin);
        const int end = begin + kPartPositions < source.positions ? begin + kPartPositions : source.positions;
        const std::uint32_t before = (1u << place.lane) - 1;
        for (int p = begin + place.warp - first_warp; p < end && place.warp >= first_warp;
             p += place.warps - first_warp) {
            Slot* slots = to.slots + (p - begin) * to.pitch;
            int count = 0;
            for (int base = 0; base < source.channels; base += 32 * kTogether) {
                std::int32_t rows[kTogether];
                JAHP_UNROLL for (int i = 0; i < kTogether; ++i) {
                    const int c = base + 32 * i + place.lane;
                    rows[i] = c < source.channels ? source.row(p, c) : -1;
                }
                JAHP_UNROLL for (int i = 0; i < kTogether; ++i) {
                    const std::uint32_t coded = ballot(kAllLanes, rows[i] >= 0);
                    if (rows[i] >= 0) {
                        const TableRow row = table[rows[i]];
                        store(slots + count + popcount(coded & before),
                              Slot{{static_cast<std::uint32_t>(row.buckets), static_cast<std::uint32_t>(row.ends),
                                    static_cast<std::uint32_t>(base + 32 * i + place.lane),
                                    static_cast<std::uint32_t>(row.size)}});
                    }
                    count += popcount(coded);
                }
            }
            const int rounds = (count + job.lanes - 1) / job.lanes;
            for (int i = count + place.lane; i < rounds * job.lanes; i += 32) store(slots + i, no_symbol());
            if (place.lane == 0) store(to.rounds + (p - begin), rounds);
        }
    }

    // The coding warp. Addresses that are known to be in shared memory take fewer instructions.
    JAHP_DEVICE void decode(const Source& source, int begin, int end) {
        const int tables = net.launch.parts[0][kTables].to;
        if (net.launch.stage >= 0 && tables >= 0) {
            std::uint8_t* memory = net.shared + net.launch.stage;
            coder.decode(source, stage_of(memory, begin), idle_slot(memory), net.shared + tables, begin, end);
        } else {
            std::uint8_t* memory = stage_memory();
            coder.decode(source, stage_of(memory, begin), idle_slot(memory), net.part(kTables, model.tables), begin,
                         end);
        }
    }

    // The first block, for all symbols of a source: use(p, c), when its code is there. The first warp decodes a part
    // while the others do `meanwhile`, stage the next part, and take up the parts that are decoded.
    template <class Use, class Meanwhile>
    JAHP_DEVICE void take(const Source& source, const Use& use, const Meanwhile& meanwhile) {
        const int helpers = place.warps > 1 ? 1 : 0;  // the first warp that need not decode
        const auto reveal = [&](int first, int last, int first_warp) {
            if (place.warp < first_warp) return;
            const int threads = 32 * (place.warps - first_warp), thread = 32 * (place.warp - first_warp) + place.lane;
            for (int i = first * source.channels + thread; i < last * source.channels; i += threads)
                use(i / source.channels, i % source.channels);
        };
        const bool decodes = place.warp == 0 && !encodes();
        int revealed = 0;
        if (!encodes()) {
            stage(source, 0, 0);
            sync_block();
        }
        meanwhile();
        for (int begin = 0; begin < source.positions && !encodes(); begin += kPartPositions) {
            const int end = begin + kPartPositions < source.positions ? begin + kPartPositions : source.positions;
            if (decodes) decode(source, begin, end);
            if (place.warp >= helpers && end < source.positions) stage(source, end, helpers);
            reveal(revealed, begin, helpers);
            revealed = begin;
            sync_block();
        }
        if (decodes) coder.close(source);
        reveal(revealed, source.positions, 0);
        settle();
    }

    // The first block: makes the first fault known; behind the next barrier all threads of the group agree.
    JAHP_DEVICE void settle() {
        auto* faults = reinterpret_cast<std::int64_t*>(net.shared);
        const std::int64_t own = least_of_warp(coder.fault < fault ? coder.fault : fault, place.lane);
        if (place.lane == 0) store(faults + place.warp, own);
        sync_block();
        if (place.warp != 0) return;
        const std::int64_t first = least_of_warp(place.lane < place.warps ? load(faults + place.lane) : kNoFault,
                                                 place.lane);
        if (first == kNoFault) return;
        coder.code = static_cast<std::int32_t>(first & 15);
        coder.detail = (first >> 4) + (first < 0 ? kOpening : 0);
        give_up();
    }

    // The coding warp.
    JAHP_DEVICE void report() {
        if (place.lane != 0) return;
        store(job.status_dev, coder.code);
        store(job.status_dev + 1, static_cast<std::int32_t>(coder.detail));
    }

    JAHP_DEVICE void give_up() {
        report();
        if (place.lane == 0) net.group.store_all(given_up(), place.rank, place.blocks, 1);
    }

    JAHP_DEVICE void note(std::int64_t symbol, std::int32_t status) {
        const std::int64_t own = status == kSound ? kNoFault : fault_of(symbol, status);
        fault = own < fault ? own : fault;
    }

    JAHP_DEVICE void take_z(int hz, int wz) {
        const int n = model.hyper_latents;
        const Source source{nullptr, nullptr, job.z_dev, n, hz * wz, n, job.z_row};
        const Reveal reveal{model, table, true};
        const auto* offset = reinterpret_cast<const std::int32_t*>(net.launch.model_dev + model.z_offset);
        const auto use = [&](int p, int c) {
            std::int32_t* z = job.z_dev + static_cast<std::int64_t>(p) * n + c;
            std::int32_t value = load(z), status = kSound;
            if (!encodes()) {
                value = reveal.decoded(job.z_row + c, 0, value, status);
                note(static_cast<std::int64_t>(p) * n + c, status);
                store(z, value);
            }
            const std::int64_t in = std::int64_t{value} * (1 << model.z_bits) + offset[c];
            store_activation(cell_at(job, job.z_in, all_positions(hz, wz), p), job.z_in, model.planes, c,
                             clamp(in, model.limit));
        };
        take(source, use, [] {});
    }

    // The symbols of a step, and what the context sees of them. before: symbols of z and of earlier steps.
    template <class Meanwhile>
    JAHP_DEVICE void take_step(const Positions& at, std::int64_t before, const Meanwhile& meanwhile) {
        const int m = model.latents;
        const bool conditional = model.conditional != 0, context = model.slope > 0;
        int row, column;
        locate(at, 0, row, column);
        const std::int64_t first = (static_cast<std::int64_t>(row) * job.width + column) * m;
        const std::int64_t stride = static_cast<std::int64_t>(context ? job.width - model.slope : 1) * m;
        const auto* rows = conditional ? reinterpret_cast<const std::int32_t*>(job.workspace_dev + job.rows) : nullptr;
        const auto* means = conditional ? reinterpret_cast<const std::int32_t*>(job.workspace_dev + job.means)
                                        : nullptr;
        const Source source{rows, means, job.y_dev + first, stride, at.count, m, 0};
        const Reveal reveal{model, table, false};
        const auto* mul = reinterpret_cast<const std::int32_t*>(net.part(kContextInput, model.context_mul));
        const auto use = [&](int p, int c) {
            std::int32_t* y = source.out + p * stride + c;
            const std::int64_t i = static_cast<std::int64_t>(p) * m + c;
            const std::int32_t of = source.row(p, c), mean = conditional ? load(means + i) : 0;
            std::int32_t status = kSound, value;
            if (encodes()) {
                value = reveal.wanted(of, mean, load(y));
                store(job.rows_dev + (y - job.y_dev), of);
                store(job.shifts_dev + (y - job.y_dev), of < 0            ? reveal.skipped(mean)
                                                        : reveal.form_b() ? mean
                                                                          : reveal.shift(mean));
            } else {
                value = reveal.decoded(of, mean, of < 0 ? 0 : load(y), status);
                note(before + i, status);
            }
            store(y, value);
            if (!context) return;
            const std::int64_t seen = (std::int64_t{value} * mul[c] + mul[m + c]) >> mul[2 * m + c];
            store_activation(cell_at(job, job.seen, at, p), job.seen, model.planes, c, clamp(seen, model.limit));
        };
        take(source, use, meanwhile);
    }

    // What the networks of a step need not wait for. Where there are others, the coding warp leaves it to them.
    JAHP_DEVICE void ahead(const Positions& at) {
        const int first_warp = place.rank == 0 && place.warps > 1 ? 1 : 0;
        net.to_sums(model.context_old, kContextOld, job.seen, at, first_warp, job.context_sums);
        if (model.hyper_latents > 0)
            net.to_sums(model.first_hyper, kFirstHyper, job.hyper, at, first_warp, job.first_sums);
    }

    JAHP_DEVICE void hyperprior(int hz, int wz) {
        net.transposed(model.h_s_0, model.h_s_outputs[0], job.z_in, all_positions(hz, wz), job.middle);
        net.group.sync();
        net.transposed(model.h_s_2, model.h_s_outputs[1], job.middle, all_positions(2 * hz, 2 * wz), job.wide);
        net.group.sync();
        const Positions all = all_positions(job.height, job.width);
        if (model.slope > 0)
            net.to_cells(model.h_s_4, model.h_s_outputs[2], job.wide, all, job.hyper, 1, 0, 0);
        else
            for_tiles(place, 0, model.h_s_4.tiles, all.count, [&](int tile, int local, int m) {
                std::uint32_t sums[4] = {0, 0, 0, 0};
                net.from_cells(model.h_s_4, -1, job.wide, all, tile, local, m, sums);
                to_symbols(sums, model.h_s_outputs[2], net.requant(model.h_s_outputs[2], -1, tile, local), tile, m,
                           all.count);
            });
        net.group.sync();
    }

    JAHP_DEVICE void networks(const Positions& at) {
        const auto layer = [&](const Product& product, const Outputs& outputs, Resident requant, int out, int chunks,
                               const auto& add) {
            for_tiles(place, 0, product.tiles, at.count, [&](int tile, int local, int m) {
                std::uint32_t sums[4] = {0, 0, 0, 0};
                add(tile, local, m, sums);
                net.publish(sums, outputs, net.requant(outputs, requant, tile, local), out, chunks, tile, m);
            });
            net.group.sync();
        };
        layer(model.context_new, model.context_outputs, kContextRequant, job.context, model.first_context.chunks,
              [&](int tile, int local, int m, std::uint32_t (&sums)[4]) {
                  net.load_sums(job.context_sums, tile, m, sums);
                  net.from_cells(model.context_new, kContextNew, job.seen, at, tile, local, m, sums);
              });
        layer(model.first_context, model.parameter_outputs[0], kFirstRequant, job.first, model.second.chunks,
              [&](int tile, int local, int m, std::uint32_t (&sums)[4]) {
                  if (model.hyper_latents > 0) net.load_sums(job.first_sums, tile, m, sums);
                  net.from_list(model.first_context, kFirst, job.context, tile, local, m, sums);
              });
        layer(model.second, model.parameter_outputs[1], kSecondRequant, job.second, model.third.chunks,
              [&](int tile, int local, int m, std::uint32_t (&sums)[4]) {
                  net.from_list(model.second, kSecond, job.first, tile, local, m, sums);
              });
        const Outputs& outputs = model.parameter_outputs[2];
        for_tiles(place, 0, model.third.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            net.from_list(model.third, kThird, job.second, tile, local, m, sums);
            to_symbols(sums, outputs, net.requant(outputs, kThirdRequant, tile, local), tile, m, at.count);
        });
        net.group.sync();
    }

    // Table row (-1: skipped) and mean of each symbol of a tile.
    JAHP_DEVICE void to_symbols(const std::uint32_t (&sums)[4], const Outputs& outputs, const Requant* requant,
                                int tile, int m, int count) const {
        const auto* thresholds = reinterpret_cast<const std::int32_t*>(net.part(kScales, model.thresholds));
        const std::int32_t *scale_row = thresholds + model.scales - 1, *scale_drop = scale_row + model.scales;
        const int latent = tile * (kTileOutputs / 2) + place.lane % 4;
        JAHP_UNROLL for (int i = 0; i < 2; ++i) {
            const int p = kRows * m + place.lane / 4 + i * 8;
            if (p >= count || latent >= model.latents) continue;
            const std::int32_t scale = requantise(sums[2 * i], requant[0], outputs.limit);
            const std::int32_t mean = requantise(sums[2 * i + 1], requant[1], outputs.limit);
            int s = 0;
            for (int left = model.scales - 1; left > 0;) {  // the thresholds that are <= scale
                const int half = left / 2;
                const bool below = thresholds[s + half] <= scale;
                s = below ? s + half + 1 : s;
                left = below ? left - half - 1 : half;
            }
            std::int32_t row = scale_row[s];
            if (model.form_b == 0) row += (mean & ((1 << model.mean_bits) - 1)) >> scale_drop[s];
            const std::int64_t at = static_cast<std::int64_t>(p) * model.latents + latent;
            store(reinterpret_cast<std::int32_t*>(job.workspace_dev + job.rows) + at, s < job.skip ? -1 : row);
            store(reinterpret_cast<std::int32_t*>(job.workspace_dev + job.means) + at, mean);
        }
    }

    // The first networks and all symbols. False if the image was given up.
    JAHP_DEVICE bool wavefront(std::int64_t before) {
        Positions at = step_positions(job, model.slope, 0);
        ahead(at);
        net.group.sync();
        const int steps = job.width + model.slope * (job.height - 1);
        for (int t = 0; t < steps; ++t) {
            const Positions next = step_positions(job, model.slope, t + 1);  // behind the last step there are none
            if (at.count > 0) networks(at);
            if (at.count > 0 && place.rank == 0)
                take_step(at, before, [&] { ahead(next); });
            else
                ahead(next);
            net.group.sync();
            if (is_given_up()) return false;
            before += static_cast<std::int64_t>(at.count) * model.latents;
            at = next;
        }
        return true;
    }

    JAHP_DEVICE bool all_at_once(std::int64_t before) {
        if (place.rank == 0) take_step(all_positions(job.height, job.width), before, [] {});
        net.group.sync();
        return !is_given_up();
    }

    JAHP_DEVICE void run() {
        const int hz = model.hyper_latents > 0 ? (job.height + 3) / 4 : 0,
                  wz = model.hyper_latents > 0 ? (job.width + 3) / 4 : 0;
        const std::int64_t before = static_cast<std::int64_t>(hz) * wz * model.hyper_latents;
        prepare();
        net.group.sync();
        if (place.codes() && !encodes())
            coder.start(before + static_cast<std::int64_t>(job.height) * job.width * model.latents);
        if (model.hyper_latents > 0) {
            if (place.rank == 0) take_z(hz, wz);
            net.group.sync();
            if (is_given_up()) return;
            hyperprior(hz, wz);
        }
        const bool whole = model.slope > 0 ? wavefront(before) : all_at_once(before);
        if (!whole || !place.codes() || encodes()) return;
        coder.finish();
        if (coder.code != kSound) report();
    }
};

// The body of a kernel: `launch.blocks` blocks an image.
template <class Group>
JAHP_DEVICE void decode_images(const Launch& launch, Group& group, std::uint8_t* shared) {
    const int image = block_index() / launch.blocks;
    const Place place{block_index() % launch.blocks, launch.blocks, thread_index() / 32, thread_count() / 32,
                      thread_index() % 32};
    const Net<Group> net{launch, launch.jobs[image], shared, place, group};
    ImageDecoder<Group> decoder(net);
    decoder.run();
}

}  // namespace jahp::cuda
