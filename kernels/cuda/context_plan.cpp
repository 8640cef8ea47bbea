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
    Cells cells(std::int64_t rows, std::int64_t columns, int border_rows, int border_columns, int channels, int planes, bool list = false) {
        Cells c{};
        c.plane = static_cast<std::int32_t>(up(channels, kChunkInputs));
        c.cell = planes * c.plane;
        const std::int64_t pitch = (columns + 2 * border_columns) * c.cell;
        c.first = take((rows + 2 * border_rows) * pitch) + border_rows * pitch + std::int64_t{border_columns} * c.cell;
        c.pitch = list ? 0 : pitch;
        return c;
    }
    std::int64_t used() const { return used_; }

  private:
    std::int64_t used_ = kControlBytes;
};

}  // namespace

std::int64_t plan_workspace(const DeviceModel& m, Job& job) {
    Room room;
    const int h = job.height, w = job.width, hz = (h + 3) / 4, wz = (w + 3) / 4;
    const bool hyper = m.hyper_latents > 0;
    if (hyper) {
        job.z_in = room.cells(hz, wz, 1, 1, m.hyper_latents, m.planes);
        job.middle = room.cells(2 * hz, 2 * wz, 1, 1, m.h_s_outputs[0].count, m.planes);
        const int border = std::max<int>(m.conv_half, 1);
        job.wide = room.cells(4 * hz, 4 * wz, border, border, m.h_s_outputs[1].count, m.planes);
    }
    job.seen = room.cells(h, w, m.half, m.half, m.latents, m.planes);
    job.zero_bytes = room.used() - kControlBytes;
    if (hyper) job.hyper = room.cells(h, w, 0, 0, m.h_s_outputs[2].count, m.planes);
    const std::int64_t most = std::min<std::int64_t>(h, (w + m.slope - 1) / m.slope);
    job.context = room.cells(1, most, 0, 0, m.context_outputs.count, m.planes, true);
    job.first = room.cells(1, most, 0, 0, m.parameter_outputs[0].count, m.planes, true);
    job.second = room.cells(1, most, 0, 0, m.parameter_outputs[1].count, m.planes, true);
    job.context_sums = room.take(most * m.context_new.tiles * kTileOutputs * 4);
    job.first_sums = room.take(most * m.first_context.tiles * kTileOutputs * 4);
    job.symbols = room.take(most * m.latents * 8);
    return room.used();
}

void plan_shared(const DeviceModel& m, int blocks, std::int32_t shared, Launch& launch) {
    launch.blocks = blocks;
    launch.shared_bytes = 0;
    const Product* products[kResidents] = {&m.third, &m.second, &m.first_context, &m.context_new, &m.context_old, &m.first_hyper};
    for (int i = 0; i < kResidents; ++i) {
        const std::int64_t tiles = (products[i]->tiles + blocks - 1) / blocks, bytes = tiles * products[i]->tile_bytes();
        const bool fits = bytes > 0 && launch.shared_bytes + bytes <= shared;
        launch.resident[i] = fits ? launch.shared_bytes : -1;
        if (fits) launch.shared_bytes += static_cast<std::int32_t>(bytes);
    }
}

}  // namespace jahp::cuda
