// SPDX-License-Identifier: Apache-2.0
// Products of a group of blocks: tiles of 16 positions by 8 outputs, one a warp, and what becomes of the sums.
#pragma once

#include <device.hpp>  // in angle brackets: the build chooses between this folder's and the emulator's
#include "context_decode.hpp"

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
    int row, column;
    locate(at, p, row, column);
    return job.workspace_dev + cells.first + row * cells.pitch + static_cast<std::int64_t>(column) * cells.cell;
}

JAHP_DEVICE std::uint32_t load_word(const std::uint8_t* p) { return load(reinterpret_cast<const std::uint32_t*>(p)); }

// Partial sums of one tile. Two sets, so that one product need not wait for the one before it. They may leave 32 bits;
// they are right modulo 2^32, and the whole does not.
struct Sums {
    std::int32_t low[2][4] = {}, high[2][4] = {};
    JAHP_DEVICE void add_to(std::uint32_t (&sums)[4]) const {
        JAHP_UNROLL for (int i = 0; i < 4; ++i) {
            const std::uint32_t planes = static_cast<std::uint32_t>(high[0][i]) +
                                         static_cast<std::uint32_t>(high[1][i]);
            sums[i] += static_cast<std::uint32_t>(low[0][i]) + static_cast<std::uint32_t>(low[1][i]) + (planes << 6);
        }
    }
};

// The B fragment of a chunk: by a plain read, from the blob or from a copy of it.
JAHP_DEVICE void weights_of(const std::uint8_t* chunk, std::uint32_t (&b)[2]) {
    const Words2 words = *reinterpret_cast<const Words2*>(chunk);
    b[0] = words.w[0];
    b[1] = words.w[1];
}

// sums += inputs times one tile of weights, for positions 16 m .. 16 m + 15; those beyond the last repeat it.
// sums[i] is that of position 16 m + lane / 4 + 8 (i / 2) and output 2 (lane % 4) + i % 2 of the tile.
JAHP_DEVICE void multiply_cells(const Job& job, const Product& product, const TapOffset* offsets,
                                const std::uint8_t* tile, const Cells& cells, const Positions& at, int m, int lane,
                                int planes, std::uint32_t (&sums)[4]) {
    const int p0 = kRows * m + lane / 4, p1 = p0 + 8, last = at.count - 1;
    const std::uint8_t* in0 = cell_at(job, cells, at, p0 < last ? p0 : last) + lane % 4 * 4;
    const std::uint8_t* in1 = cell_at(job, cells, at, p1 < last ? p1 : last) + lane % 4 * 4;
    const std::uint8_t* weights = tile + lane * 8;
    Sums part;
    for (int tap = 0; tap < product.taps; ++tap) {
        const std::int64_t offset = offsets[tap].row * cells.pitch +
                                    static_cast<std::int64_t>(offsets[tap].column) * cells.cell;
        JAHP_UNROLL_4  // loads of four chunks under way at a time
            for (int chunk = 0; chunk < product.chunks; ++chunk, weights += kChunkBytes) {
            std::uint32_t b[2];
            weights_of(weights, b);
            const std::uint8_t *x0 = in0 + offset + chunk * kChunkInputs, *x1 = in1 + offset + chunk * kChunkInputs;
            const std::uint32_t a[4] = {load_word(x0), load_word(x1), load_word(x0 + 16), load_word(x1 + 16)};
            mma_s8(part.low[chunk & 1], a, b);
            if (planes == 1) continue;
            x0 += cells.plane;
            x1 += cells.plane;
            const std::uint32_t h[4] = {load_word(x0), load_word(x1), load_word(x0 + 16), load_word(x1 + 16)};
            mma_s8(part.high[chunk & 1], h, b);
        }
    }
    part.add_to(sums);
}

// The same for a list, from its m-tile on.
JAHP_DEVICE void multiply_list(const Product& product, const std::uint8_t* tile, const std::uint8_t* list, int lane,
                               int planes, std::uint32_t (&sums)[4]) {
    const std::uint8_t *weights = tile + lane * 8, *in = list + lane * 16;
    Sums part;
    JAHP_UNROLL_4
    for (int chunk = 0; chunk < product.chunks; ++chunk, weights += kChunkBytes, in += kFragmentBytes) {
        std::uint32_t b[2];
        weights_of(weights, b);
        const Words4 a = load(reinterpret_cast<const Words4*>(in));
        mma_s8(part.low[chunk & 1], a.w, b);
        if (planes == 1) continue;
        const Words4 h = load(reinterpret_cast<const Words4*>(in + product.chunks * kFragmentBytes));
        mma_s8(part.high[chunk & 1], h.w, b);
    }
    part.add_to(sums);
}

JAHP_DEVICE std::int32_t clamp(std::int64_t v, std::int32_t limit) {
    return v > limit ? limit : v < -limit ? -limit : static_cast<std::int32_t>(v);
}

JAHP_DEVICE std::int32_t requantise(std::uint32_t sum, const Requant& r, std::int32_t limit) {
    const auto biased = static_cast<std::int32_t>(sum + static_cast<std::uint32_t>(r.bias));
    const std::int64_t scaled = std::int64_t{biased} * (biased < 0 ? r.mul_neg : r.mul_pos);
    return clamp(((scaled + (std::int64_t{1} << (r.shift - 1))) >> r.shift) + r.zero, limit);
}

JAHP_DEVICE std::int32_t low_plane(std::int32_t a) { return ((a + 32) & 63) - 32; }

JAHP_DEVICE void store_activation(std::uint8_t* cell, const Cells& cells, int planes, int channel, std::int32_t a) {
    if (planes == 1) return store(cell + channel, static_cast<std::uint8_t>(a));
    store(cell + channel, static_cast<std::uint8_t>(low_plane(a)));
    store(cell + cells.plane + channel, static_cast<std::uint8_t>((a - low_plane(a)) >> 6));
}

// For the tiles that this warp has: use(tile, its number among the block's, m). Warps below `first_warp` have none.
template <class Use>
JAHP_DEVICE void for_tiles(const Place& place, int first_warp, int tiles, int positions, const Use& use) {
    const int own = (tiles - place.rank + place.blocks - 1) / place.blocks,
              work = own * ((positions + kRows - 1) / kRows);
    if (place.warp < first_warp) return;
    for (int i = place.warp - first_warp; i < work; i += place.warps - first_warp) {
        const int local = i % own;
        use(place.rank + place.blocks * local, local, i / own);
    }
}

// What all layers of an image share.
template <class Group>
struct Net {
    const Launch& launch;
    const Job& job;
    std::uint8_t* shared;
    Place place;
    Group& group;

    JAHP_DEVICE const DeviceModel& model() const { return launch.model; }

    JAHP_DEVICE std::uint8_t* lists() const {
        return Group::kDistributed ? shared + launch.lists : job.workspace_dev + job.lists;
    }

    // Where a part begins that is copied as a whole.
    JAHP_DEVICE const std::uint8_t* part(Resident resident, std::int64_t in_blob) const {
        const int at = launch.parts[place.rank == 0 ? 0 : 1][resident].to;
        return at >= 0 ? shared + at : launch.model_dev + in_blob;
    }

    JAHP_DEVICE const std::uint8_t* tile_of(const Product& product, int resident, int tile, int local) const {
        const int at = resident < 0 ? -1 : launch.parts[place.rank == 0 ? 0 : 1][resident].to,
                  bytes = product.taps * product.chunks * kChunkBytes;
        return at >= 0 ? shared + at + local * bytes
                       : launch.model_dev + product.weights + static_cast<std::int64_t>(tile) * bytes;
    }

    JAHP_DEVICE const Requant* requant(const Outputs& outputs, int resident, int tile, int local) const {
        const int at = resident < 0 ? -1 : launch.parts[place.rank == 0 ? 0 : 1][resident].to;
        const std::uint8_t* from = at >= 0 ? shared + at + local * kRequantBytes
                                           : launch.model_dev + outputs.requant + tile * kRequantBytes;
        return reinterpret_cast<const Requant*>(from) + place.lane % 4 * 2;
    }

    JAHP_DEVICE const TapOffset* offsets(const Product& product) const {
        const bool context = model().slope > 0 && launch.parts[place.rank == 0 ? 0 : 1][kOffsets].to >= 0 &&
                             product.offsets >= model().context_old.offsets &&
                             product.offsets < model().context_offsets_end;
        return reinterpret_cast<const TapOffset*>(context
                                                      ? shared + launch.parts[place.rank == 0 ? 0 : 1][kOffsets].to +
                                                            (product.offsets - model().context_old.offsets)
                                                      : launch.model_dev + product.offsets);
    }

    JAHP_DEVICE void from_cells(const Product& product, int resident, const Cells& in, const Positions& at, int tile,
                                int local, int m, std::uint32_t (&sums)[4]) const {
        multiply_cells(job, product, offsets(product), tile_of(product, resident, tile, local), in, at, m, place.lane,
                       model().planes, sums);
    }

    JAHP_DEVICE void from_list(const Product& product, int resident, int list, int tile, int local, int m,
                               std::uint32_t (&sums)[4]) const {
        const std::uint8_t* in = lists() + list + m * model().planes * product.chunks * kFragmentBytes;
        multiply_list(product, tile_of(product, resident, tile, local), in, place.lane, model().planes, sums);
    }

    // Raw sums, of [tile][m][lane][4]: only the warps of one block have to do with them.
    JAHP_DEVICE Words4* sums_at(std::int64_t sums, int tile, int m) const {
        const int tiles = (job.most + kRows - 1) / kRows;
        return reinterpret_cast<Words4*>(job.workspace_dev + sums) +
               (static_cast<std::int64_t>(tile) * tiles + m) * 32 + place.lane;
    }

    JAHP_DEVICE void to_sums(const Product& product, int resident, const Cells& in, const Positions& at, int first_warp,
                             std::int64_t to) const {
        for_tiles(place, first_warp, product.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            from_cells(product, resident, in, at, tile, local, m, sums);
            store(sums_at(to, tile, m), Words4{{sums[0], sums[1], sums[2], sums[3]}});
        });
    }

    // Activations of a layer into cells; position (r, c) goes to cell (step r + row, step c + column).
    JAHP_DEVICE void to_cells(const Product& product, const Outputs& outputs, const Cells& in, const Positions& at,
                              const Cells& out, int step, int row, int column) const {
        for_tiles(place, 0, product.tiles, at.count, [&](int tile, int local, int m) {
            std::uint32_t sums[4] = {0, 0, 0, 0};
            from_cells(product, -1, in, at, tile, local, m, sums);
            const Requant* table = requant(outputs, -1, tile, local);
            JAHP_UNROLL for (int i = 0; i < 4; ++i) {
                const int p = kRows * m + place.lane / 4 + i / 2 * 8,
                          o = tile * kTileOutputs + place.lane % 4 * 2 + i % 2;
                if (p >= at.count || o >= outputs.count) continue;
                int r, c;
                locate(at, p, r, c);
                std::uint8_t* cell = job.workspace_dev + out.first + (step * r + row) * out.pitch +
                                     static_cast<std::int64_t>(step * c + column) * out.cell;
                store_activation(cell, out, model().planes, o, requantise(sums[i], table[i % 2], outputs.limit));
            }
        });
    }

    JAHP_DEVICE void transposed(const Product (&phases)[4], const Outputs& outputs, const Cells& in,
                                const Positions& at, const Cells& out) const {
        for (int phase = 0; phase < 4; ++phase) to_cells(phases[phase], outputs, in, at, out, 2, phase / 2, phase % 2);
    }

    // Activations of a layer into a list of `chunks` chunks. A word of it holds four channels of a position, which two
    // lanes have: the even one gives up its second position's, the odd one its first position's.
    JAHP_DEVICE void publish(const std::uint32_t (&sums)[4], const Outputs& outputs, const Requant* table, int list,
                             int chunks, int tile, int m) const {
        const int lane = place.lane, odd = lane & 1;
        std::uint32_t pairs[2][2] = {};  // of [plane][position]
        JAHP_UNROLL for (int i = 0; i < 4; ++i) {
            const std::int32_t a = requantise(sums[i], table[i % 2], outputs.limit),
                               low = model().planes == 1 ? a : low_plane(a);
            pairs[0][i / 2] |= (static_cast<std::uint32_t>(low) & 255) << (8 * (i % 2));
            pairs[1][i / 2] |= (static_cast<std::uint32_t>((a - low) >> 6) & 255) << (8 * (i % 2));
        }
        const int row = lane / 4 + 8 * odd, channel = tile * kTileOutputs + lane % 4 / 2 * 4;
        const int fragment = row % 8 * 4 + channel % 16 / 4, word = row / 8 + channel % kChunkInputs / 16 * 2;
        std::uint8_t* to = lists() + list + (m * model().planes * chunks + channel / kChunkInputs) * kFragmentBytes +
                           fragment * 16 + word * 4;
        JAHP_UNROLL for (int plane = 0; plane < 2; ++plane) {
            if (plane == model().planes) break;
            const auto given = static_cast<std::int32_t>(odd ? pairs[plane][0] : pairs[plane][1]);
            const auto got = static_cast<std::uint32_t>(shuffle(kAllLanes, given, lane ^ 1));
            const std::uint32_t v = odd ? got | pairs[plane][1] << 16 : pairs[plane][0] | got << 16;
            group.store_all(reinterpret_cast<std::uint32_t*>(to + plane * chunks * kFragmentBytes), place.rank,
                            place.blocks, v);
        }
    }

    JAHP_DEVICE void load_sums(std::int64_t from, int tile, int m, std::uint32_t (&sums)[4]) const {
        const Words4 v = load(sums_at(from, tile, m));
        JAHP_UNROLL for (int i = 0; i < 4; ++i)
            sums[i] = v.w[i];
    }
};

}  // namespace jahp::cuda
