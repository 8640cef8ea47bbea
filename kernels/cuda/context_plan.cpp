// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "context_decode.hpp"

namespace jahp::cuda {
namespace {

std::int64_t up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

class Room {
public:
    std::int64_t take(std::int64_t bytes) {
        const std::int64_t at = used_;
        used_ = up(used_ + bytes, 256);
        return at;
    }
    Cells cells(std::int64_t rows, std::int64_t columns, int border_rows, int border_columns, int channels,
                int planes) {
        Cells c{};
        c.plane = static_cast<std::int32_t>(up(channels, kChunkInputs));
        c.cell = planes * c.plane;
        c.pitch = (columns + 2 * border_columns) * c.cell;
        c.first = take((rows + 2 * border_rows) * c.pitch) + border_rows * c.pitch +
                  std::int64_t{border_columns} * c.cell;
        return c;
    }
    std::int64_t used() const { return used_; }

private:
    std::int64_t used_ = kControlBytes;
};

void plan_lists(const DeviceModel& m, Job& job) {
    const std::int64_t tiles = (job.most + kRows - 1) / kRows;
    std::int64_t used = 256;
    const auto list = [&](int channels) {
        const std::int64_t at = used;
        used += tiles * m.planes * up(channels, kChunkInputs) / kChunkInputs * kFragmentBytes;
        return static_cast<std::int32_t>(at);
    };
    job.context = list(m.context_outputs.count);
    job.first = list(m.parameter_outputs[0].count);
    job.second = list(m.parameter_outputs[1].count);
    job.list_bytes = static_cast<std::int32_t>(used);
}

std::int64_t stage_pitch(const DeviceModel& m) { return up(std::max(m.latents, m.hyper_latents), kMaxLanes); }

std::int64_t stage_bytes(const DeviceModel& m) {
    return kRoundsBytes + kSlotBytes * (1 + 2 * (kPartPositions * stage_pitch(m) + kMaxLanes));
}

// Gives room to the parts in their order; `used` bytes are taken.
void place_parts(Part (&parts)[kResidents], int blocks, std::int32_t shared, std::int32_t used,
                 std::int32_t& shared_bytes) {
    for (Part& part : parts) {
        const std::int64_t tiles = part.tiled != 0 ? (part.tiles + blocks - 1) / blocks : part.tiles;
        const std::int64_t bytes = up(tiles * part.tile_bytes, 16);
        const bool fits = bytes > 0 && used + bytes <= shared;
        part.to = fits ? used : -1;
        if (fits) used += static_cast<std::int32_t>(bytes);
    }
    shared_bytes = std::max(shared_bytes, used);
}

void plan_parts(const DeviceModel& m, Part (&parts)[kResidents]) {
    std::fill_n(parts, static_cast<int>(kResidents), Part{0, 0, 0, 0, -1});
    const auto whole = [&](Resident r, std::int64_t from, std::int64_t end) {
        parts[r] = {from, static_cast<std::int32_t>(end - from), 1, 0, -1};
    };
    whole(kTables, m.tables, m.tables_end);
    if (m.conditional != 0) whole(kScales, m.thresholds, m.scales_end);
    if (m.slope == 0) return;
    whole(kContextInput, m.context_mul, m.context_input_end);
    whole(kOffsets, m.context_old.offsets, m.context_offsets_end);
    const auto weights = [&](Resident r, const Product& p) { parts[r] = {p.weights, p.tile_bytes(), p.tiles, 1, -1}; };
    const auto requant = [&](Resident r, const Outputs& o, const Product& p) {
        parts[r] = {o.requant, kRequantBytes, p.tiles, 1, -1};
    };
    requant(kContextRequant, m.context_outputs, m.context_new);
    requant(kFirstRequant, m.parameter_outputs[0], m.first_context);
    requant(kSecondRequant, m.parameter_outputs[1], m.second);
    requant(kThirdRequant, m.parameter_outputs[2], m.third);
    weights(kThird, m.third);
    weights(kSecond, m.second);
    weights(kFirst, m.first_context);
    weights(kContextNew, m.context_new);
    weights(kContextOld, m.context_old);
    if (m.hyper_latents > 0) weights(kFirstHyper, m.first_hyper);
}

}  // namespace

std::int64_t plan_workspace(const DeviceModel& m, Job& job) {
    Room room;
    const int h = job.height, w = job.width, hz = (h + 3) / 4, wz = (w + 3) / 4;
    const bool hyper = m.hyper_latents > 0, context = m.slope > 0;
    if (hyper) {
        job.z_in = room.cells(hz, wz, 1, 1, m.hyper_latents, m.planes);
        job.middle = room.cells(2 * hz, 2 * wz, 1, 1, m.h_s_outputs[0].count, m.planes);
        const int border = std::max<int>(m.conv_half, 1);
        job.wide = room.cells(4 * hz, 4 * wz, border, border, m.h_s_outputs[1].count, m.planes);
    }
    if (context) job.seen = room.cells(h, w, m.half, m.half, m.latents, m.planes);
    job.zero_bytes = room.used() - kControlBytes;
    job.most = context ? std::min(h, (w + m.slope - 1) / m.slope) : h * w;
    job.list_bytes = 256;
    if (context) {
        if (hyper) job.hyper = room.cells(h, w, 0, 0, m.h_s_outputs[2].count, m.planes);
        plan_lists(m, job);
        const std::int64_t rows = up(job.most, kRows);
        job.context_sums = room.take(rows * m.context_new.tiles * kTileOutputs * 4);
        job.first_sums = room.take(rows * m.first_context.tiles * kTileOutputs * 4);
    }
    if (m.conditional != 0) {
        job.rows = room.take(std::int64_t{job.most} * m.latents * 4);
        job.means = room.take(std::int64_t{job.most} * m.latents * 4);
    }
    job.lists = room.take(job.list_bytes);
    job.stage = room.take(stage_bytes(m));
    return room.used();
}

bool plan_shared(int blocks, std::int32_t shared, bool distributed, Launch& launch) {
    launch.blocks = blocks;
    launch.shared_bytes = kFixedShared;
    launch.lists = launch.stage = -1;
    launch.stage_pitch = static_cast<std::int32_t>(stage_pitch(launch.model));
    if (distributed) {
        std::int32_t most = 0;
        for (int i = 0; i < launch.images; ++i) most = std::max(most, launch.jobs[i].list_bytes);
        if (most > shared - kFixedShared) return false;
        launch.lists = kFixedShared;
        launch.shared_bytes += most;
    }
    auto& [coding, others] = launch.parts;
    plan_parts(launch.model, coding);
    plan_parts(launch.model, others);
    others[kTables] = {};
    const std::int32_t used = launch.shared_bytes;
    place_parts(others, blocks, shared, used, launch.shared_bytes);
    const std::int64_t stage = stage_bytes(launch.model);
    if (used + stage <= shared) launch.stage = used;
    place_parts(coding, blocks, shared, launch.stage >= 0 ? used + static_cast<std::int32_t>(stage) : used,
                launch.shared_bytes);
    return true;
}

}  // namespace jahp::cuda
