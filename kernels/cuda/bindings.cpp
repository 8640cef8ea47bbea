// SPDX-License-Identifier: Apache-2.0
// jahp_fast._cuda; the Python side (jahp_fast/_cuda.pyi) carries the documentation. Device arrays come as raw addresses, so
// that torch, CuPy and Numba serve alike and the build needs none of them.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bindings/errors.hpp"
#include "symbol_checksum.cuh"

namespace jahp::cuda {
namespace {

namespace py = pybind11;

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // so that the next call does not report this error again
    throw Error(Fault::device, std::string(what) + ": " + cudaGetErrorString(error));
}

int device_count() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
        cudaGetLastError();
        return 0;
    }
    check(error, "device_count");
    return count;
}

py::list devices() {
    py::list out;
    const int count = device_count();
    for (int i = 0; i < count; ++i) {
        cudaDeviceProp properties;
        check(cudaGetDeviceProperties(&properties, i), "devices");
        py::dict d;
        d["name"] = properties.name;
        d["major"] = properties.major;
        d["minor"] = properties.minor;
        d["total_memory"] = properties.totalGlobalMem;
        out.append(d);
    }
    return out;
}

const std::int32_t* symbols_at(std::uintptr_t address, std::size_t count, const char* name) {
    if (address % alignof(std::int32_t) != 0) throw Error(Fault::usage, std::string(name) + " is not the address of an int32 array");
    if (address == 0 && count != 0) throw Error(Fault::usage, std::string(name) + " is null, but its count is not 0");
    return reinterpret_cast<const std::int32_t*>(address);
}

std::uint32_t checksum(std::uintptr_t z_ptr, std::size_t z_count, std::uintptr_t y_ptr, std::size_t y_count, std::uintptr_t stream) {
    const auto z_dev = symbols_at(z_ptr, z_count, "z_ptr"), y_dev = symbols_at(y_ptr, y_count, "y_ptr");
    std::uint32_t sum = 0;
    check(symbol_checksum(z_dev, z_count, y_dev, y_count, &sum, reinterpret_cast<cudaStream_t>(stream)), "symbol_checksum");
    return sum;
}

}  // namespace
}  // namespace jahp::cuda

PYBIND11_MODULE(_cuda, m) {
    namespace py = pybind11;
    m.doc() = "CUDA kernels of jahp_fast; not public.";
    jahp::bind::register_errors();
    m.def("device_count", &jahp::cuda::device_count);
    m.def("devices", &jahp::cuda::devices);
    m.def("symbol_checksum", &jahp::cuda::checksum, py::arg("z_ptr"), py::arg("z_count"), py::arg("y_ptr"), py::arg("y_count"),
          py::arg("stream") = 0, py::call_guard<py::gil_scoped_release>());
}
