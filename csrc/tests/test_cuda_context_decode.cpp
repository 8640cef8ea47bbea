// SPDX-License-Identifier: Apache-2.0
// The CUDA kernel under the emulator against the scalar decoder, on sound and on damaged streams.
#include "context_decode.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "context_decode.cuh"
#include "core/context_decoder.hpp"
#include "core/range_coder.hpp"
#include "tests/check.hpp"
#include "tests/random_model.hpp"
#include "tests/random_stream.hpp"

namespace jahp::test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int kStreams = 12;  // instrumented fibers are slow
constexpr std::uint64_t kSchedules = 4;
#else
constexpr int kStreams = 48;
constexpr std::uint64_t kSchedules = 20;
#endif

constexpr int kKinds = 10;  // of models (shape_of)

using Bytes = std::vector<std::uint8_t>;
using cuda::Job;
using cuda::Launch;

struct Run {
    int blocks = 1, threads = 64;
    std::uint64_t seed = 1;
    std::int32_t shared = 0;   // bytes for what stays
    bool cluster = true;       // with distributed shared memory; else a grid
    std::optional<std::int32_t> size = {};  // what the device is told of the payloads' bytes
};

struct Image {
    Bytes payload;
    StreamLayout layout;
};

struct Decoded {
    std::int32_t code = -1, detail = 0;
    std::vector<std::int32_t> z, y, rows, shifts;
};

// All images by one launch, decoded; or coded, if `wanted` holds their latents. CHECKs that no race or deadlock was
// found.
std::vector<Decoded> emulate(const Bytes& blob, const std::vector<Image>& images, const Run& run,
                             const std::vector<Latents>& wanted = {}) {
    Launch launch{};
    std::memcpy(&launch.model, blob.data(), sizeof launch.model);
    const cuda::DeviceModel& model = launch.model;
    launch.model_dev = blob.data();
    launch.images = static_cast<std::int32_t>(images.size());
    std::size_t memory = 0;
    const auto counts = [&](const StreamLayout& l) {
        const auto z = static_cast<std::size_t>(model.hyper_latents) *
                       static_cast<std::size_t>((l.height + 3) / 4 * ((l.width + 3) / 4));
        return std::pair{z, static_cast<std::size_t>(model.latents) * static_cast<std::size_t>(l.height * l.width)};
    };
    std::vector<std::size_t> workspace;
    std::int32_t lists = 0;
    for (std::size_t i = 0; i < images.size(); ++i) {
        Job& job = launch.jobs[i];
        const auto& [payload, layout] = images[i];
        job.payload_dev = payload.data();
        job.payload_bytes = static_cast<std::int64_t>(payload.size());
        job.min_bytes = static_cast<std::int64_t>(layout.min_bytes);
        job.height = layout.height;
        job.width = layout.width;
        job.lanes = layout.lanes;
        job.skip = layout.skip;
        job.z_row = layout.z_row;
        if (run.size) job.size_dev = &*run.size;
        workspace.push_back(static_cast<std::size_t>(plan_workspace(model, job)));
        lists = std::max(lists, job.list_bytes);
        const auto [z, y] = counts(layout);
        memory += workspace.back() + 4 * (z + 3 * y) + 8192;
    }
    const std::int32_t least = cuda::kFixedShared + (run.cluster ? lists : 0);
    if (run.cluster) CHECK(!plan_shared(run.blocks, least - 1, true, launch));
    CHECK(plan_shared(run.blocks, least + run.shared, run.cluster, launch));
    emulator::Grid grid(
        {run.blocks * launch.images, run.threads, run.blocks, static_cast<std::size_t>(launch.shared_bytes)}, run.seed,
        memory);
    for (std::size_t i = 0; i < images.size(); ++i) {
        Job& job = launch.jobs[i];
        const auto [z, y] = counts(images[i].layout);
        const auto words = [&](std::size_t n) { return static_cast<std::int32_t*>(grid.take(4 * n)); };
        job.workspace_dev = static_cast<std::uint8_t*>(grid.take(workspace[i]));
        job.z_dev = words(z);
        job.y_dev = words(y);
        job.status_dev = words(8);
        std::fill_n(job.status_dev, 8, 0);
        if (wanted.empty()) continue;
        job.rows_dev = words(y);
        job.shifts_dev = words(y);
        std::copy(wanted[i].z.begin(), wanted[i].z.end(), job.z_dev);
        std::copy(wanted[i].y.begin(), wanted[i].y.end(), job.y_dev);
    }
    const auto kernel = [&](auto group) { cuda::decode_images(launch, group, emulator::shared_memory()); };
    const std::string failure = grid.run(
        [&] { run.cluster ? kernel(cuda::EmulatedGroup<true>{}) : kernel(cuda::EmulatedGroup<false>{}); });
    CHECK_EQ(failure, "");
    std::vector<Decoded> out;
    for (std::size_t i = 0; i < images.size(); ++i) {
        const Job& job = launch.jobs[i];
        const auto [z, y] = counts(images[i].layout);
        out.push_back(
            {job.status_dev[0], job.status_dev[1], {job.z_dev, job.z_dev + z}, {job.y_dev, job.y_dev + y}, {}, {}});
        if (!wanted.empty()) {
            out.back().rows.assign(job.rows_dev, job.rows_dev + y);
            out.back().shifts.assign(job.shifts_dev, job.shifts_dev + y);
        }
        CHECK(std::all_of(job.status_dev + 2, job.status_dev + 8, [](std::int32_t v) { return v == 0; }));
    }
    return out;
}

struct Stream {
    Bytes blob;
    Image image;
    Latents latents;
};

// A numbered stream, coded by the scalar kernels; nothing for one of more than `most` symbols.
std::optional<Stream> stream_of(std::uint32_t number, int most) {
    const RandomStream source(number);
    if (source.layout().height * source.layout().width * source.tensors().latents > most) return std::nullopt;
    const EntropyModel model(source.tensors(), Isa::scalar);
    Latents latents = source.latents();
    StreamLayout layout = source.layout();
    Bytes payload = encode_latents(model, latents, layout, 1);
    const Latents seen = decode_latents(model, payload, layout, 1);
    CHECK(seen.y == latents.y);
    return Stream{cuda::pack_model(source.tensors()), {std::move(payload), layout}, seen};
}

void check_equal_to(const Decoded& got, const Latents& wanted, std::uint32_t number) {
    CHECK_EQ(got.code, 0);
    CHECK(got.z == wanted.z);
    CHECK(got.y == wanted.y);
    if (got.code != 0 || got.y != wanted.y)
        std::cout << "  stream " << number << ", z " << (got.z == wanted.z) << ", code " << got.code << " at "
                  << got.detail << '\n';
}

ModelShape shape_of(int kind) {
    ModelShape s;
    s.hyper = kind % 2 == 0;
    s.context = kind < 8;  // 8: mean and scale; 9: factorised
    s.form = kind / 2 % 2 == 0 || kind == 9 ? Form::a : Form::b;
    s.activation_bits = kind / 4 % 2 == 0 ? 8 : 16;
    s.prob_bits = kind % 3 == 0 ? 16 : 15;
    s.kernel = 3 + 2 * (kind % 3);
    s.latents = 5 + kind;
    s.hyper_latents = 4 + kind % 3;
    return s;
}

Stream small_stream(int kind, int height, int width, int lanes, std::uint32_t seed, int rare = 30) {
    const RandomModel source(shape_of(kind), seed);
    const auto model = source.build(Isa::scalar);
    Random random(seed);
    Latents latents = random_latents(*model, random, height, width, rare);
    StreamLayout layout{height, width, lanes, 0, 0};
    Bytes payload = encode_latents(*model, latents, layout, 1);
    return {cuda::pack_model(source.tensors()), {std::move(payload), layout}, latents};
}

}  // namespace

TEST(random_streams_equal_the_oracle) {
    int streams = 0;
    for (std::uint32_t number = 0; number < 200 && streams < kStreams; ++number) {
        const auto stream = stream_of(number, 2000);
        if (!stream) continue;
        ++streams;
        const int blocks[] = {1, 2, 8, 16};
        const std::int32_t shared[] = {0, 4096, 1 << 20};
        const Run run{blocks[number % 4], number % 16 < 12 ? 64 : 32, number, shared[number % 3], number % 7 < 4};
        check_equal_to(emulate(stream->blob, {stream->image}, run)[0], stream->latents, number);
    }
    CHECK_EQ(streams, kStreams);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(widths_of_the_paper) {
    const auto stream = stream_of(60, 1 << 20);  // M = 320, N = 192
    CHECK(stream.has_value());
    check_equal_to(emulate(stream->blob, {stream->image}, {16, 64, 1, 180 << 10})[0], stream->latents, 60);
}
#endif

TEST(many_schedules_and_all_group_sizes) {
    for (int kind = 0; kind < kKinds; ++kind) {
        const Stream stream = small_stream(kind, 3, 5, 1 << (kind % 7), static_cast<std::uint32_t>(kind + 1));
        for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
            const int blocks[] = {1, 2, 8, 16};
            const Run run{blocks[seed % 4], seed % 3 == 0 ? 96 : 64, seed, seed % 2 == 0 ? 2048 : 0, seed % 5 < 3};
            check_equal_to(emulate(stream.blob, {stream.image}, run)[0], stream.latents,
                           static_cast<std::uint32_t>(seed));
        }
    }
}

TEST(sizes_and_lanes) {
    for (const auto& [height, width] :
         {std::pair{1, 1}, std::pair{1, 9}, std::pair{9, 1}, std::pair{2, 2}, std::pair{32, 48}})
        for (const int lanes : {1, 16, 64}) {
            if (height == 32 && lanes != 16) continue;
            const Stream stream = small_stream(lanes == 64 ? 4 : 0, height, width, lanes,
                                               static_cast<std::uint32_t>(height + lanes));
            check_equal_to(emulate(stream.blob, {stream.image}, {2, 64, 3, 1 << 16})[0], stream.latents,
                           static_cast<std::uint32_t>(lanes));
        }
}

TEST(several_images_share_a_launch) {
    const RandomModel source(shape_of(0), 3);
    const auto model = source.build(Isa::scalar);
    const Bytes blob = cuda::pack_model(source.tensors());
    std::vector<Image> images;
    std::vector<Latents> wanted;
    Random random(3);
    for (int i = 0; i < 5; ++i) {
        Latents latents = random_latents(*model, random, 2 + i, 7 - i, 30);
        StreamLayout layout{2 + i, 7 - i, 1 << i, 0, 0};
        images.push_back({encode_latents(*model, latents, layout, 1), layout});
        wanted.push_back(latents);
    }
    images[2].payload.resize(10);  // its neighbours must not notice
    for (const int blocks : {1, 2, 8}) {
        const auto got = emulate(blob, images, {blocks, 64, 7, 4096});
        for (std::size_t i = 0; i < images.size(); ++i) {
            CHECK_EQ(got[i].code == 0, i != 2);
            if (i != 2) check_equal_to(got[i], wanted[i], static_cast<std::uint32_t>(i));
        }
    }
}

TEST(damage_ends_in_a_status) {
    std::vector<int> seen(11);
    Random random(5);
    for (int kind = 0; kind < kKinds; ++kind) {
        const RandomModel source(shape_of(kind), static_cast<std::uint32_t>(kind));
        const auto model = source.build(Isa::scalar);
        const Stream stream = small_stream(kind, 2, 3, 1 << kind % 7, static_cast<std::uint32_t>(kind), 4);
        for (int i = 0; i < 60; ++i) {
            Image bad = stream.image;
            Bytes& bytes = bad.payload;
            const auto any = [&] {
                return static_cast<std::size_t>(random(0, static_cast<std::int64_t>(bytes.size()) - 1));
            };
            const std::size_t escapes = bytes[0] + 256u * bytes[1];
            switch (i % 8) {
                case 0:
                    bytes.resize(any());
                    break;
                case 1:
                    bytes.resize(bytes.size() + static_cast<std::size_t>(random(1, 3)));
                    break;
                case 2:
                    bytes[0] = static_cast<std::uint8_t>(random(0, 255));
                    break;
                case 3:
                    bad.layout.min_bytes = bytes.size() + 4;
                    bytes.resize(bytes.size() + 4);
                    if (i % 4 != 0) bytes.back() = 1;
                    break;
                case 4:  // one escape too many, of a value that is none
                    bytes[0] = static_cast<std::uint8_t>(bytes[0] + 1);
                    bytes.insert(bytes.begin() + 4 + 2 * static_cast<std::ptrdiff_t>(escapes), 2, 0);
                    break;
                case 5:
                    for (std::size_t e = 0; e < escapes; ++e) bytes[4 + 2 * e] = 0, bytes[5 + 2 * e] = 0x80;
                    break;
                default:
                    for (std::int64_t changes = random(1, 3); changes > 0; --changes)
                        bytes[any()] = static_cast<std::uint8_t>(random(0, 255));
            }
            std::optional<Latents> wanted;
            try {
                wanted = decode_latents(*model, bytes, bad.layout, 1);
            } catch (const Error& e) {
                CHECK(e.fault() == Fault::format);
            }
            const Decoded got = emulate(stream.blob, {bad}, {1 + i % 2, 64, static_cast<std::uint64_t>(i + 1), 0})[0];
            CHECK(got.code >= 0 && got.code <= 10);
            ++seen[static_cast<std::size_t>(got.code)];
            CHECK_EQ(got.code == 0, wanted.has_value());
            if (wanted) CHECK(got.y == wanted->y && got.z == wanted->z);
        }
    }
    for (std::size_t code = 0; code <= 10; ++code) {
        CHECK(seen[code] > 0);
        if (seen[code] == 0) std::cout << "  no stream ended with code " << code << '\n';
    }
}

// The payload as large as its buffer, as a graph has it, with noise behind what counts.
TEST(sizes_on_the_device) {
    for (int kind = 0; kind < kKinds; ++kind) {
        const Stream stream = small_stream(kind, 2, 3, 1 << kind % 7, static_cast<std::uint32_t>(kind), 10);
        const auto size = static_cast<std::int32_t>(stream.image.payload.size());
        Image fixed = stream.image;
        fixed.payload.resize(fixed.payload.size() + 4096, 0xa5);
        const auto capacity = static_cast<std::int32_t>(fixed.payload.size());
        const auto run = [&](std::optional<std::int32_t> told) {
            return emulate(stream.blob, {fixed}, {2, 64, 3, 4096, kind % 2 == 0, told})[0];
        };
        check_equal_to(run(size), stream.latents, static_cast<std::uint32_t>(kind));
        CHECK(run(std::nullopt).code != 0);
        for (const std::int32_t bad : {-1, INT32_MIN, capacity + 1, INT32_MAX})
            CHECK_EQ(run(bad).code, static_cast<std::int32_t>(cuda::kBadSize));
        CHECK_EQ(run(0).code, static_cast<std::int32_t>(cuda::kTooShort));
        for (const std::int32_t bad : {size - 1, size + 1, capacity}) CHECK(run(bad).code != 0);
    }
}

// Rows and shifts of the kernel, coded in order, are the encoder's stream.
TEST(encoding_gives_the_encoders_bytes) {
    for (std::uint32_t number = 0; number < 60; ++number) {
        const auto stream = stream_of(number, 1500);
        if (!stream) continue;
        const RandomStream source(number);
        const EntropyModel model(source.tensors(), Isa::scalar);
        const StreamLayout& layout = stream->image.layout;
        const int blocks[] = {1, 2, 8};
        const Run run{blocks[number % 3], number % 4 == 0 ? 32 : 64, number, number % 2 == 0 ? 1 << 20 : 0,
                      number % 5 < 3};
        const Decoded got = emulate(stream->blob, {stream->image}, run, {source.latents()})[0];
        CHECK_EQ(got.code, 0);
        CHECK(got.y == stream->latents.y);
        RangeEncoder coder(model.tables());
        for (std::size_t i = 0; i < got.z.size(); ++i) {
            const int c = static_cast<int>(i) % model.hyper_latents();
            coder.put(c, c, got.z[i]);
        }
        const Wavefront order(layout.height, layout.width, model.slope());
        std::vector<Position> positions;
        for (int t = 0; t < order.steps(); ++t) order.append(t, positions);
        for (const Position at : positions)
            for (int c = 0, rank = 0; c < model.latents(); ++c) {
                const auto i = static_cast<std::size_t>((at.row * layout.width + at.column) * model.latents() + c);
                if (got.rows[i] < 0)
                    CHECK_EQ(got.y[i], got.shifts[i]);
                else if (model.form() == Form::a)
                    coder.put(rank++, got.rows[i], got.y[i], got.shifts[i]);
                else
                    coder.put(rank++, got.rows[i], (got.y[i] - got.shifts[i]) >> model.mean_bits());
            }
        CHECK(coder.finish(layout.lanes, layout.min_bytes) == stream->image.payload);
    }
}

}  // namespace jahp::test
