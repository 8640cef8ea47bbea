// SPDX-License-Identifier: Apache-2.0
// stream_digest [--streams 1000] [--first 0] [--isa NAME|all] [--threads 1,2,3,8] [--golden FILE]
//
// Encodes numbered random streams with the scalar kernels on one thread, then decodes and encodes each again with every
// instruction set and number of threads, and ends with status 1 at the first bit that differs. Prints one CRC-32C a
// class of streams, of payloads and latents: a table that must be the same on every machine and with every compiler.
// The column «input» tells a generator that went astray from a coder that did. A golden file records such results:
// lines of first, streams, result.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "simd/isa.hpp"
#include "tests/random_model.hpp"
#include "tests/random_stream.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct Options {
    std::uint32_t streams = 1000, first = 0;
    std::vector<Isa> isas = available_isas();
    std::vector<int> threads{1, 2, 3, 8};
    std::string golden;
};

struct Coded {
    Bytes payload;
    Latents latents;  // as the decoder sees them
    StreamLayout layout;
};

struct Digest {
    std::uint32_t streams = 0, input = 0, result = 0;
};

[[noreturn]] void usage(const std::string& what) { throw Error(Fault::usage, what); }

template <typename T>
T number(std::string_view option, std::string_view text, T low, T high) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high)
        usage(std::string(option) + " " + std::string(text) + " is not a number from " + std::to_string(low) + " to " +
              std::to_string(high));
    return value;
}

Options parse(int argc, char** argv) {
    Options out;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view option = argv[i];
        if (i + 1 == argc) usage("what follows " + std::string(option) + " is missing");
        const std::string_view value = argv[i + 1];
        if (option == "--streams") {
            out.streams = number<std::uint32_t>(option, value, 1, 1'000'000);
        } else if (option == "--first") {
            out.first = number<std::uint32_t>(option, value, 0, 1'000'000'000);
        } else if (option == "--isa") {
            if (value != "all") out.isas = {parse_isa(argv[i + 1])};
        } else if (option == "--threads") {
            out.threads.clear();
            std::stringstream list{std::string(value)};
            for (std::string one; std::getline(list, one, ',');) out.threads.push_back(number(option, one, 1, 64));
            if (out.threads.empty()) usage("--threads names no number");
        } else if (option == "--golden") {
            out.golden = value;
        } else {
            usage(std::string(option) + " is none of --streams, --first, --isa, --threads, --golden");
        }
    }
    return out;
}

Coded encode(const EntropyModel& model, const RandomStream& stream, int threads) {
    Coded out{{}, stream.latents(), stream.layout()};
    out.payload = encode_latents(model, out.latents, out.layout, threads);
    return out;
}

std::string difference(const std::vector<std::int32_t>& got, const std::vector<std::int32_t>& want, const char* name) {
    if (got.size() != want.size())
        return std::string(name) + " has " + std::to_string(got.size()) + " values, not " + std::to_string(want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        if (got[i] != want[i])
            return std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(got[i]) + ", not " +
                   std::to_string(want[i]);
    return {};
}

std::string difference(const Latents& got, const Latents& want) {
    const std::string z = difference(got.z, want.z, "z");
    return z.empty() ? difference(got.y, want.y, "y") : z;
}

// What decoding and encoding again gave that it should not have; empty if nothing.
std::string compare(const EntropyModel& model, const RandomStream& stream, const Coded& want, int threads) {
    const std::string decoded = difference(decode_latents(model, want.payload, want.layout, threads), want.latents);
    if (!decoded.empty()) return "decoded " + decoded;
    const Coded again = encode(model, stream, threads);
    if (again.layout.lanes != want.layout.lanes)
        return "encoded with " + std::to_string(again.layout.lanes) + " lanes, not " +
               std::to_string(want.layout.lanes);
    if (again.payload != want.payload) return "encoded another payload";
    const std::string encoded = difference(again.latents, want.latents);
    return encoded.empty() ? encoded : "encoder's " + encoded;
}

// Adds stream `k` to the digests; false, with a message, if anything differs.
bool check_stream(std::uint32_t k, const Options& options, Digest& of_class, Digest& all) {
    const RandomStream stream(k);
    const auto failed = [&](const std::string& where, const std::string& what) {
        std::fprintf(stderr, "stream %u (%s), %s: %s\n", k, stream.describe().c_str(), where.c_str(), what.c_str());
        return false;
    };
    Coded want;
    try {
        want = encode(EntropyModel(stream.tensors(), Isa::scalar), stream, 1);
    } catch (const Error& e) {
        return failed("scalar, 1 thread", e.what());
    }
    for (const Isa isa : options.isas) {
        const std::string name = isa_name(isa);
        try {
            const EntropyModel model(stream.tensors(), isa);
            for (const int threads : options.threads) {
                const std::string what = compare(model, stream, want, threads);
                if (!what.empty()) return failed(name + ", " + std::to_string(threads) + " threads", what);
            }
        } catch (const Error& e) {
            return failed(name, e.what());
        }
    }
    for (Digest* d : {&of_class, &all}) {
        ++d->streams;
        d->input = stream.digest(d->input);
        d->result = crc_of(want.latents.y, crc_of(want.latents.z, crc32c(want.payload, d->result)));
    }
    return true;
}

bool as_recorded(const Options& options, const Digest& all) {
    std::ifstream file(options.golden);
    if (!file) usage("cannot read " + options.golden);
    for (std::string line; std::getline(file, line);) {
        std::uint32_t first = 0, streams = 0, result = 0;
        if (std::sscanf(line.c_str(), "%u %u %x", &first, &streams, &result) != 3 || first != options.first ||
            streams != options.streams)
            continue;
        if (result == all.result) return true;
        std::fprintf(stderr, "%s records %08x for these streams\n", options.golden.c_str(), result);
        return false;
    }
    usage(options.golden + " records nothing for " + std::to_string(options.streams) + " streams from " +
          std::to_string(options.first));
}

int run(const Options& options) {
    std::string names;
    for (const Isa isa : options.isas) names += std::string(" ") + isa_name(isa);
#if defined(__clang__)
    const char* compiler = "clang " __clang_version__;
#else
    const char* compiler = "gcc " __VERSION__;
#endif
    std::printf("# %s;%s;", compiler, names.c_str());
    for (const int threads : options.threads) std::printf(" %d", threads);
    std::printf(" threads\n%-16s %7s  %-8s  %-8s\n", "class", "streams", "input", "result");

    using Clock = std::chrono::steady_clock;
    auto reported = Clock::now();
    std::array<Digest, kStreamClasses.size()> classes;
    Digest all;
    for (std::uint32_t i = 0; i < options.streams; ++i) {
        if (Clock::now() - reported > std::chrono::seconds(5)) {
            reported = Clock::now();
            std::fprintf(stderr, "%u of %u streams\n", i, options.streams);
        }
        const auto c = static_cast<std::size_t>(RandomStream::class_of(options.first + i));
        if (!check_stream(options.first + i, options, classes[c], all)) return 1;
    }
    const auto print = [](const char* name, const Digest& d) {
        std::printf("%-16s %7u  %08x  %08x\n", name, d.streams, d.input, d.result);
    };
    for (std::size_t c = 0; c < classes.size(); ++c) print(kStreamClasses[c].name, classes[c]);
    print("all", all);
    return options.golden.empty() || as_recorded(options, all) ? 0 : 1;
}

}  // namespace
}  // namespace jahp::test

int main(int argc, char** argv) {
    try {
        return jahp::test::run(jahp::test::parse(argc, argv));
    } catch (const jahp::Error& e) {
        std::fprintf(stderr, "stream_digest: %s\n", e.what());
        return 2;
    }
}
