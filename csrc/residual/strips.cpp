// SPDX-License-Identifier: Apache-2.0
#include "residual/strips.hpp"

#include "core/error.hpp"
#include "core/thread_team.hpp"

namespace jahp {
Strips::Strips(PixelShape whole, int each) : shape(whole), rows(each) {
    if (each < 8 || each > kMostStripRows || each % 8 != 0) throw Error(Fault::usage, "strips have 8, 16, 24 ... rows");
}

void Strips::each(int threads, const std::function<void(int strip)>& work) const {
    if (threads < 1 || threads > 1024) throw Error(Fault::usage, "threads must be 1 to 1024");
    ThreadTeam team(std::min(threads, count()));
    team.run(count(), [&](int i, int) { work(i); });
}

std::vector<std::vector<std::uint8_t>> Strips::encode(
    int threads, const std::function<std::vector<std::uint8_t>(int strip)>& code) const {
    std::vector<std::vector<std::uint8_t>> data(static_cast<std::size_t>(count()));
    each(threads, [&](int i) { data[static_cast<std::size_t>(i)] = code(i); });
    return data;
}

void Strips::decode(std::span<const std::span<const std::uint8_t>> data, int threads,
                    const std::function<bool(int strip, std::span<const std::uint8_t> data)>& code) const {
    if (data.size() != static_cast<std::size_t>(count()))
        throw Error(Fault::usage, "there are more or fewer strips than the rows take");
    std::vector<char> complete(data.size());
    each(threads, [&](int i) { complete[static_cast<std::size_t>(i)] = code(i, data[static_cast<std::size_t>(i)]); });
    if (std::find(complete.begin(), complete.end(), 0) != complete.end())
        throw Error(Fault::format, "a strip of samples does not end where its data end: the file is damaged");
}

}  // namespace jahp
