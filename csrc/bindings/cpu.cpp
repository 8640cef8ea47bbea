// SPDX-License-Identifier: Apache-2.0
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "simd/peak.hpp"

namespace jahp::bind {
namespace py = pybind11;
namespace {

double since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double peak_macs(const std::string& isa_name, int bits, int threads, double seconds) {
    if (bits != 8 && bits != 16) throw Error(Fault::usage, "bits must be 8 or 16");
    if (threads < 1 || threads > 1024) throw Error(Fault::usage, "threads must be 1 to 1024");
    if (!(seconds > 0) || seconds > 60) throw Error(Fault::usage, "seconds must be above 0 and at most 60");
    const Isa isa = parse_isa(isa_name.c_str());
    const auto products = [&](std::int64_t rounds) { return peak_products(isa, bits == 8 ? 127 : 4095, rounds); };
    const py::gil_scoped_release release;
    std::atomic<int> waiting{threads};
    std::vector<double> rates(static_cast<std::size_t>(threads));
    const auto measure = [&](std::size_t t) {
        products(1 << 12);
        for (--waiting; waiting.load() > 0;) std::this_thread::yield();  // all at once, or the ceiling is too high
        const auto start = std::chrono::steady_clock::now();
        std::int64_t done = 0;
        do done += products(1 << 14);
        while (since(start) < seconds);
        rates[t] = static_cast<double>(done) / since(start);
    };
    std::vector<std::thread> helpers;
    for (int t = 1; t < threads; ++t) helpers.emplace_back(measure, static_cast<std::size_t>(t));
    measure(0);
    for (std::thread& helper : helpers) helper.join();
    double sum = 0;
    for (const double rate : rates) sum += rate;
    return sum;
}

}  // namespace

void register_cpu(py::module_& m);
void register_cpu(py::module_& m) {
    m.def("isa_names", [] {
        std::vector<std::string> names;
        for (const Isa isa : available_isas()) names.emplace_back(isa_name(isa));
        return names;
    });
    m.def("peak_macs", &peak_macs, py::arg("isa"), py::arg("bits"), py::arg("threads"), py::arg("seconds") = 0.1);
}

}  // namespace jahp::bind
