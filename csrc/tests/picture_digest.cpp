// SPDX-License-Identifier: Apache-2.0
// picture_digest [--pictures 1000] [--threads 1,2,3,8] [--golden FILE]
//
// Numbered random pictures through random integer nets: g_a, gains, h_a; latents, gains, g_s; and back through the
// adjoint of g_s. The scalar kernels on one thread, all rows at once, are the measure; every instruction set, number of
// threads and height of strips must give the same bits, or the exit status is 1. Prints one CRC-32C of pictures and one
// of all that came of them, which must be the same on every machine and with every compiler. A golden file records
// results: lines of pictures, result.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "core/scaled.hpp"
#include "simd/isa.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace jahp::test {
namespace {

constexpr int kStride = 16;
constexpr std::int32_t kLargest = 2147483647;

// Everything that comes of one picture, in 64 bits.
using Results = std::vector<std::vector<std::int64_t>>;

// One number's picture and nets.
class Picture {
public:
    explicit Picture(std::uint32_t number)
        : random_(number), weights_(number % 5 == 4 ? Weights::large : Weights::small), inner_(draw(1, 20)),
          latents_(draw(1, 24)), hyper_(draw(1, 9)), h_(draw(1, 3)), w_(draw(1, 4)), g_a_(number + 1, weights_),
          h_a_(number + 2, weights_), g_s_(number + 3, weights_), adjoint_(number + 4, weights_) {
        using enum Activation;
        g_a_.conv(3, inner_, 5, 2, gdn).conv(inner_, inner_, 5, 2, gdn).conv(inner_, inner_, 5, 2, gdn);
        g_a_.conv(inner_, latents_, 5, 2, none);
        const Activation between = number % 2 == 0 ? leaky_relu : relu;
        h_a_.conv(latents_, hyper_, 3, 1, between).conv(hyper_, hyper_, 5, 2, between).conv(hyper_, hyper_, 5, 2, none);
        g_s_.deconv(latents_, inner_, inverse_gdn).deconv(inner_, inner_, inverse_gdn);
        g_s_.deconv(inner_, inner_, inverse_gdn).deconv(inner_, 3, pixels);
        adjoint_.conv(3, inner_, 5, 2, local).conv(inner_, inner_, 5, 2, local).conv(inner_, inner_, 5, 2, local);
        adjoint_.conv(inner_, latents_, 5, 2, none);
        const int most = draw(1, 255);
        image_ = random_.many<std::int16_t>(size(kStride * h_, kStride * w_, 3), 0, most);
        for (int gain = 0; gain < 3; ++gain) {
            mul_.push_back(random_.many<std::int32_t>(size(latents_, 1, 1), 32768, 65535));
            shift_.push_back(
                random_.many<std::uint8_t>(size(latents_, 1, 1), gain == 1 ? 14 : 16, gain == 1 ? 20 : 26));
        }
    }

    Results results(Isa isa, int threads, int strip) const {
        const TransformNet g_a = g_a_.build(isa), h_a = h_a_.build(isa), g_s = g_s_.build(isa),
                           adjoint = adjoint_.build(isa);
        const auto sums = std::get<std::vector<std::int32_t>>(
            run(g_a, image_, kStride * h_, kStride * w_, threads, strip));
        const auto y8 = gained<std::int32_t>(sums, 0, kLargest);
        const auto hyper = run(h_a, gained<std::int16_t>(y8, 1, 8191), h_, w_, threads, strip);
        std::vector<std::int32_t> y(y8.size());
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::int32_t>((std::int64_t{y8[i]} + 128) >> 8);
        GainTrace trace(false);
        const auto shown = std::get<std::vector<std::uint8_t>>(
            run(g_s, gained<std::int16_t>(y, 2, 8191), h_, w_, threads, strip, &trace));
        std::vector<std::int16_t> errors(shown.size());
        for (std::size_t i = 0; i < errors.size(); ++i) errors[i] = static_cast<std::int16_t>(shown[i] - image_[i]);
        const auto slopes = run(adjoint, errors, kStride * h_, kStride * w_, threads, strip, &trace);
        return {{y8.begin(), y8.end()}, widened(hyper), {shown.begin(), shown.end()}, widened(slopes)};
    }

    const std::vector<std::int16_t>& image() const { return image_; }

private:
    static std::size_t size(int a, int b, int c) {
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
    }
    int draw(int low, int high) { return static_cast<int>(random_(low, high)); }

    template <typename Out>
    std::vector<Out> gained(const std::vector<std::int32_t>& x, std::size_t gain, std::int32_t limit) const {
        std::vector<Out> out(x.size());
        scaled<Out>(x, mul_[gain], shift_[gain], limit, out);
        return out;
    }

    Random random_;
    Weights weights_;
    int inner_, latents_, hyper_, h_, w_;
    RandomNet g_a_, h_a_, g_s_, adjoint_;
    std::vector<std::int16_t> image_;
    std::vector<std::vector<std::int32_t>> mul_;
    std::vector<std::vector<std::uint8_t>> shift_;
};

template <typename T>
std::uint32_t crc_of_values(const std::vector<T>& values, std::uint32_t crc) {
    std::vector<std::uint8_t> bytes;
    for (const T v : values)
        for (int i = 0; i < 8; ++i)
            bytes.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(std::int64_t{v}) >> 8 * i));
    return crc32c(bytes, crc);
}

struct Options {
    std::uint32_t pictures = 1000;
    std::vector<int> threads{1, 2, 3, 8};
    std::string golden;
};

Options parse(int argc, char** argv) {
    Options out;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        if (option == "--pictures")
            out.pictures = static_cast<std::uint32_t>(std::stoul(argv[i + 1]));
        else if (option == "--golden")
            out.golden = argv[i + 1];
        else if (option == "--threads") {
            out.threads.clear();
            std::stringstream list{std::string(argv[i + 1])};
            for (std::string one; std::getline(list, one, ',');) out.threads.push_back(std::stoi(one));
        } else
            throw Error(Fault::usage, option + " is none of --pictures, --threads, --golden");
    }
    return out;
}

bool as_recorded(const Options& options, std::uint32_t result) {
    std::ifstream file(options.golden);
    for (std::string line; std::getline(file, line);) {
        std::uint32_t pictures = 0, wanted = 0;
        if (std::sscanf(line.c_str(), "%u %x", &pictures, &wanted) == 2 && pictures == options.pictures)
            return wanted == result;
    }
    throw Error(Fault::usage, options.golden + " records nothing for so many pictures");
}

int run_all(const Options& options) {
    std::uint32_t input = 0, result = 0;
    const std::vector<Isa> isas = available_isas();
    for (std::uint32_t number = 0; number < options.pictures; ++number) {
        const Picture picture(number);
        const Results want = picture.results(Isa::scalar, 1, 0);
        for (const Isa isa : isas)
            for (const int threads : options.threads)
                if (picture.results(isa, threads, threads == 1 ? 0 : static_cast<int>(number) % 7 + 1) != want) {
                    std::fprintf(stderr, "picture %u: %s with %d threads differs\n", number, isa_name(isa), threads);
                    return 1;
                }
        input = crc_of_values(picture.image(), input);
        for (const auto& part : want) result = crc_of_values(part, result);
    }
    std::printf("all %u %08x %08x\n", options.pictures, input, result);
    if (options.golden.empty() || as_recorded(options, result)) return 0;
    std::fprintf(stderr, "%s records another result\n", options.golden.c_str());
    return 1;
}

}  // namespace
}  // namespace jahp::test

int main(int argc, char** argv) {
    try {
        return jahp::test::run_all(jahp::test::parse(argc, argv));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "picture_digest: %s\n", e.what());
        return 2;
    }
}
