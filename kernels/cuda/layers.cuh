// SPDX-License-Identifier: Apache-2.0
// Products of a group of blocks: tiles of 16 positions by 8 outputs, one a warp, and what becomes of the sums.
#pragma once

#include "context_decode.hpp"
#include <device.hpp>  // in angle brackets: the build chooses between this folder's and the emulator's

namespace jahp::cuda {

constexpr std::uint32_t kAllLanes = 0xffffffffu;

// A group of blocks and this thread's place in it.
struct Place {
    int rank, blocks;       // this block among the image's
    int warp, warps, lane;  // in the block
    JAHP_DEVICE bool codes() const { return rank == 0 && warp == 0; }
};

// The positions of one wavefront step (slope > 0), or all of an array with `width` columns (slope 0).
struct Positions {
    int count, width, first, t, slope;
};

JAHP_DEVICE Positions all_positions(int height, int width) { return {height * width, width, 0, 0, 0}; }

JAHP_DEVICE Positions step_positions(const Job& job, int slope, int t) {
    const int low = t - job.width + slope, first = low > 0 ? low / slope : 0;
    const int last = t / slope < job.height - 1 ? t / slope : job.height - 1;
    return {last >= first ? last - first + 1 : 0, job.width, first, t, slope};
}

JAHP_DEVICE void locate(const Positions& at, int p, int& row, int& column) {
    row = at.slope > 0 ? at.first + p : p / at.width;
    column = at.slope > 0 ? at.t - at.slope * row : p - row * at.width;
}

JAHP_DEVICE std::uint8_t* cell_at(const Job& job, const Cells& cells, const Positions& at, int p) {
    if (cells.pitch == 0) return job.workspace_dev + cells.first + static_cast<std::int64_t>(p) * cells.cell;
    int row, column;
    locate(at, p, row, column);
    return job.workspace_dev + cells.first + row * cells.pitch + static_cast<std::int64_t>(column) * cells.cell;
}

JAHP_DEVICE std::uint32_t load_word(const std::uint8_t* p) { return load(reinterpret_cast<const std::uint32_t*>(p)); }

// sums += inputs times one tile of weights, for positions 16 m .. 16 m + 15; those beyond the last repeat it.
// sums[i] is that of position 16 m + lane / 4 + 8 (i / 2) and output 2 (lane % 4) + i % 2 of the tile.
// Partial sums may leave 32 bits; they are right modulo 2^32, and the whole does not.
template <bool kShared>
JAHP_DEVICE void multiply(const std::uint8_t* blob, const Job& job, const Product& product, const std::uint8_t* tile, const Cells& cells,
                          const Positions& at, int m, int lane, int planes, std::uint32_t (&sums)[4]) {
    const int p0 = 16 * m + lane / 4, p1 = p0 + 8, last = at.count - 1;
    const std::uint8_t* in0 = cell_at(job, cells, at, p0 < last ? p0 : last) + lane % 4 * 4;
    const std::uint8_t* in1 = cell_at(job, cells, at, p1 < last ? p1 : last) + lane % 4 * 4;
    const auto* offsets = reinterpret_cast<const TapOffset*>(blob + product.offsets);
    const std::uint8_t* weights = tile + lane * 8;
    std::int32_t low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
    for (int tap = 0; tap < product.taps; ++tap) {
        const std::int64_t offset = offsets[tap].row * cells.pitch + static_cast<std::int64_t>(offsets[tap].column) * cells.cell;
        JAHP_UNROLL_4  // loads of four chunks under way at a time
        for (int chunk = 0; chunk < product.chunks; ++chunk, weights += kChunkBytes) {
            std::uint32_t b[2];
            if (kShared) {
                b[0] = load_word(weights);
                b[1] = load_word(weights + 4);
            } else {
                b[0] = reinterpret_cast<const std::uint32_t*>(weights)[0];
                b[1] = reinterpret_cast<const std::uint32_t*>(weights)[1];
            }
            const std::uint8_t *x0 = in0 + offset + chunk * kChunkInputs, *x1 = in1 + offset + chunk * kChunkInputs;
            const std::uint32_t a[4] = {load_word(x0), load_word(x1), load_word(x0 + 16), load_word(x1 + 16)};
            mma_s8(low, a, b);
            if (planes == 1) continue;
            x0 += cells.plane;
            x1 += cells.plane;
            const std::uint32_t h[4] = {load_word(x0), load_word(x1), load_word(x0 + 16), load_word(x1 + 16)};
            mma_s8(high, h, b);
        }
    }
    JAHP_UNROLL
    for (int i = 0; i < 4; ++i) sums[i] += static_cast<std::uint32_t>(low[i]) + (static_cast<std::uint32_t>(high[i]) << 6);
}

JAHP_DEVICE std::int32_t clamp(std::int64_t v, std::int32_t limit) {
    return v > limit ? limit : v < -limit ? -limit : static_cast<std::int32_t>(v);
}

JAHP_DEVICE std::int32_t requantise(std::uint32_t sum, const Requant& r, std::int32_t limit) {
    const auto biased = static_cast<std::int32_t>(sum + static_cast<std::uint32_t>(r.bias));
    const std::int64_t scaled = std::int64_t{biased} * (biased < 0 ? r.mul_neg : r.mul_pos);
    return clamp(((scaled + (std::int64_t{1} << (r.shift - 1))) >> r.shift) + r.zero, limit);
}

JAHP_DEVICE void store_activation(std::uint8_t* cell, const Cells& cells, int planes, int channel, std::int32_t a) {
    if (planes == 1) return store(cell + channel, static_cast<std::uint8_t>(a));
    const std::int32_t low = ((a + 32) & 63) - 32;
    store(cell + channel, static_cast<std::uint8_t>(low));
    store(cell + cells.plane + channel, static_cast<std::uint8_t>((a - low) >> 6));
}

// For the tiles that this warp has: use(tile, its number among the block's, m). Warps below `first_warp` have none.
template <class Use>
JAHP_DEVICE void for_tiles(const Place& place, int first_warp, int tiles, int positions, const Use& use) {
    const int own = (tiles - place.rank + place.blocks - 1) / place.blocks, work = own * ((positions + 15) / 16);
    if (place.warp < first_warp) return;
    for (int i = place.warp - first_warp; i < work; i += place.warps - first_warp) {
        const int local = i % own;
        use(place.rank + place.blocks * local, local, i / own);
    }
}

// What all layers of an image share.
struct Net {
    const DeviceModel& model;
    const Launch& launch;
    const Job& job;
    const std::uint8_t* shared;
    Place place;

    JAHP_DEVICE const std::uint8_t* blob() const { return launch.model_dev; }

    JAHP_DEVICE void products(const Product& product, int resident, const Cells& cells, const Positions& at, int tile, int local, int m,
                              std::uint32_t (&sums)[4]) const {
        const int from = resident < 0 ? -1 : launch.resident[resident], bytes = product.taps * product.chunks * kChunkBytes;
        if (from >= 0)
            multiply<true>(blob(), job, product, shared + from + local * bytes, cells, at, m, place.lane, model.planes, sums);
        else
            multiply<false>(blob(), job, product, blob() + product.weights + static_cast<std::int64_t>(tile) * bytes, cells, at, m,
                            place.lane, model.planes, sums);
    }

    JAHP_DEVICE const Requant* requant(const Outputs& outputs, int tile) const {
        return reinterpret_cast<const Requant*>(blob() + outputs.requant) + tile * kTileOutputs + place.lane % 4 * 2;
    }

    // Raw sums of [position][output].
    JAHP_DEVICE std::int32_t* sums_at(std::int64_t sums, int tiles, int tile, int p) const {
        const std::int64_t at = (static_cast<std::int64_t>(p) * tiles + tile) * kTileOutputs + place.lane % 4 * 2;
        return reinterpret_cast<std::int32_t*>(job.workspace_dev + sums) + at;
    }

    JAHP_DEVICE void to_sums(const Product& product, int resident, const Cells& in, const Positions& at, int first_warp, std::int64_t to) const {
        for_tiles(place, first_warp, product.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            products(product, resident, in, at, tile, local, m, sums);
            JAHP_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int p = 16 * m + place.lane / 4 + i / 2 * 8;
                if (p < at.count) store(sums_at(to, product.tiles, tile, p) + i % 2, static_cast<std::int32_t>(sums[i]));
            }
        });
    }

    JAHP_DEVICE void add_sums(std::int64_t from, int tiles, int tile, int m, const Positions& at, std::uint32_t (&sums)[4]) const {
        JAHP_UNROLL
        for (int i = 0; i < 4; ++i) {
            const int p = 16 * m + place.lane / 4 + i / 2 * 8;
            if (p < at.count) sums[i] += static_cast<std::uint32_t>(load(sums_at(from, tiles, tile, p) + i % 2));
        }
    }

    // Activations of a layer, from sums (if from >= 0) plus a product; position (r, c) goes to cell (step r + row, step c + column).
    JAHP_DEVICE void activate(const Product& product, int resident, const Outputs& outputs, const Cells& in, const Positions& at,
                              std::int64_t from, const Cells& out, int step, int row, int column) const {
        for_tiles(place, 0, product.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            if (from >= 0) add_sums(from, product.tiles, tile, m, at, sums);
            products(product, resident, in, at, tile, local, m, sums);
            const Requant* table = requant(outputs, tile);
            JAHP_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int p = 16 * m + place.lane / 4 + i / 2 * 8, o = tile * kTileOutputs + place.lane % 4 * 2 + i % 2;
                if (p >= at.count || o >= outputs.count) continue;
                std::uint8_t* cell;
                if (step == 1) {
                    cell = cell_at(job, out, at, p);
                } else {
                    int r, c;
                    locate(at, p, r, c);
                    cell = job.workspace_dev + out.first + (step * r + row) * out.pitch + static_cast<std::int64_t>(step * c + column) * out.cell;
                }
                store_activation(cell, out, model.planes, o, requantise(sums[i], table[i % 2], outputs.limit));
            }
        });
    }

    JAHP_DEVICE void transposed(const Product (&phases)[4], const Outputs& outputs, const Cells& in, const Positions& at, const Cells& out) const {
        for (int phase = 0; phase < 4; ++phase) activate(phases[phase], -1, outputs, in, at, -1, out, 2, phase / 2, phase % 2);
    }

    // Table row (-1: skipped) and mean of each symbol of a step.
    JAHP_DEVICE void to_symbols(const Positions& at) const {
        const auto* thresholds = reinterpret_cast<const std::int32_t*>(blob() + model.thresholds);
        const auto* scale_row = reinterpret_cast<const std::int32_t*>(blob() + model.scale_row);
        const auto* scale_drop = reinterpret_cast<const std::int32_t*>(blob() + model.scale_drop);
        const Outputs& outputs = model.parameter_outputs[2];
        for_tiles(place, 0, model.third.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            products(model.third, kThird, job.second, at, tile, local, m, sums);
            const Requant* table = requant(outputs, tile);
            const int latent = tile * (kTileOutputs / 2) + place.lane % 4;
            JAHP_UNROLL
            for (int i = 0; i < 2; ++i) {
                const int p = 16 * m + place.lane / 4 + i * 8;
                if (p >= at.count || latent >= model.latents) continue;
                const std::int32_t scale = requantise(sums[2 * i], table[0], outputs.limit);
                const std::int32_t mean = requantise(sums[2 * i + 1], table[1], outputs.limit);
                int s = 0;
                for (int left = model.scales - 1; left > 0;) {  // the thresholds that are <= scale
                    const int half = left / 2;
                    const bool below = thresholds[s + half] <= scale;
                    s = below ? s + half + 1 : s;
                    left = below ? left - half - 1 : half;
                }
                std::int32_t row = scale_row[s];
                if (model.form_b == 0) row += (mean & ((1 << model.mean_bits) - 1)) >> scale_drop[s];
                auto* symbol = reinterpret_cast<std::int32_t*>(job.workspace_dev + job.symbols);
                symbol += (static_cast<std::int64_t>(p) * model.latents + latent) * 2;
                store(symbol, s < job.skip ? -1 : row);
                store(symbol + 1, mean);
            }
        });
    }
};

}  // namespace jahp::cuda
