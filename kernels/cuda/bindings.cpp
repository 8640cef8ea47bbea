// SPDX-License-Identifier: Apache-2.0
// jahp_fast._cuda; the Python side (jahp_fast/_cuda.pyi) carries the documentation. Device arrays come as raw
// addresses, so that torch, CuPy and Numba serve alike and the build needs none of them.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "bindings/errors.hpp"
#include "bindings/model_tensors.hpp"
#include "launch.hpp"
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
    if (address % alignof(std::int32_t) != 0)
        throw Error(Fault::usage, std::string(name) + " is not the address of an int32 array");
    if (address == 0 && count != 0) throw Error(Fault::usage, std::string(name) + " is null, but its count is not 0");
    return reinterpret_cast<const std::int32_t*>(address);
}

std::uint32_t checksum(std::uintptr_t z_ptr, std::size_t z_count, std::uintptr_t y_ptr, std::size_t y_count,
                       std::uintptr_t stream) {
    const auto z_dev = symbols_at(z_ptr, z_count, "z_ptr"), y_dev = symbols_at(y_ptr, y_count, "y_ptr");
    std::uint32_t sum = 0;
    check(symbol_checksum(z_dev, z_count, y_dev, y_count, &sum, reinterpret_cast<cudaStream_t>(stream)),
          "symbol_checksum");
    return sum;
}

int version(cudaError_t (*of)(int*), const char* what) {
    int value = 0;
    check(of(&value), what);
    return value;
}

py::bytes pack(const py::dict& config, const py::dict& tensors) {
    const std::vector<std::uint8_t> blob = pack_model(bind::entropy_tensors(config, tensors));
    return {reinterpret_cast<const char*>(blob.data()), blob.size()};
}

DeviceModel head_of(const py::bytes& blob) {
    const auto text = static_cast<std::string_view>(blob);
    DeviceModel model{};
    if (text.size() < sizeof model) throw Error(Fault::usage, "blob does not come from pack()");
    std::memcpy(&model, text.data(), sizeof model);
    if (model.bytes != static_cast<std::int64_t>(text.size()))
        throw Error(Fault::usage, "blob does not come from pack()");
    return model;
}

void check_size(int height, int width) {
    constexpr std::int64_t kMostPositions = 1 << 24;
    if (height < 1 || width < 1 || std::int64_t{height} * width > kMostPositions)
        throw Error(Fault::usage,
                    "latents of " + std::to_string(width) + "x" + std::to_string(height) + " are impossible");
}

std::int64_t workspace_bytes(const py::bytes& blob, int height, int width) {
    check_size(height, width);
    Job job{};
    job.height = height;
    job.width = width;
    return plan_workspace(head_of(blob), job);
}

template <typename T>
T* address_of(const py::dict& from, const char* key, std::uintptr_t alignment) {
    const auto address = from[key].cast<std::uintptr_t>();
    if (address == 0 || address % alignment != 0)
        throw Error(Fault::usage, std::string(key) + " is no address on a device");
    return reinterpret_cast<T*>(address);
}

// What decoding and encoding have in common.
Job job_of(const DeviceModel& model, const py::dict& from) {
    Job job{};
    job.height = from["height"].cast<int>();
    job.width = from["width"].cast<int>();
    check_size(job.height, job.width);
    job.skip = from["skip"].cast<int>();
    if (job.skip < 0 || job.skip > 255) throw Error(Fault::usage, "skip must be 0 to 255");
    job.z_row = from["z_row"].cast<int>();
    if (job.z_row < 0 || job.z_row > model.rows - model.hyper_latents)
        throw Error(Fault::usage, "z_row must be a row of the tables with those of z behind it");
    job.workspace_dev = address_of<std::uint8_t>(from, "workspace_ptr", 256);
    if (model.hyper_latents > 0) job.z_dev = address_of<std::int32_t>(from, "z_ptr", 4);
    job.y_dev = address_of<std::int32_t>(from, "y_ptr", 4);
    job.status_dev = address_of<std::int32_t>(from, "status_ptr", 4);
    plan_workspace(model, job);
    return job;
}

Job decode_job(const DeviceModel& model, const py::dict& from) {
    Job job = job_of(model, from);
    job.lanes = from["lanes"].cast<int>();
    if (job.lanes < 1 || job.lanes > 64 || (job.lanes & (job.lanes - 1)) != 0)
        throw Error(Fault::usage, "lanes must be 1, 2, 4, 8, 16, 32 or 64, not " + std::to_string(job.lanes));
    job.min_bytes = from["min_bytes"].cast<std::int64_t>();
    job.payload_bytes = from["payload_bytes"].cast<std::int64_t>();
    if (job.payload_bytes < 0 || job.min_bytes < 0)
        throw Error(Fault::usage, "payload_bytes and min_bytes must not be negative");
    if (job.payload_bytes > INT32_MAX)
        throw Error(Fault::usage, "a payload of 2 GB or more cannot be decoded on a device");
    if (job.payload_bytes > 0) job.payload_dev = address_of<const std::uint8_t>(from, "payload_ptr", 1);
    if (from.contains("size_ptr")) job.size_dev = address_of<const std::int32_t>(from, "size_ptr", 4);
    return job;
}

Job encode_job(const DeviceModel& model, const py::dict& from) {
    Job job = job_of(model, from);
    job.lanes = 1;
    job.rows_dev = address_of<std::int32_t>(from, "rows_ptr", 4);
    job.shifts_dev = address_of<std::int32_t>(from, "shifts_ptr", 4);
    return job;
}

template <Job (*job)(const DeviceModel&, const py::dict&)>
void start(const py::bytes& blob, std::uintptr_t model_ptr, const py::list& images, std::uintptr_t stream) {
    const DeviceModel model = head_of(blob);
    if (model_ptr == 0 || model_ptr % 256 != 0) throw Error(Fault::usage, "model_ptr is no address on a device");
    std::vector<Job> jobs;
    for (const py::handle& image : images) jobs.push_back(job(model, image.cast<py::dict>()));
    const py::gil_scoped_release release;
    check(context_decode(model, reinterpret_cast<const std::uint8_t*>(model_ptr), jobs.data(),
                         static_cast<int>(jobs.size()), reinterpret_cast<cudaStream_t>(stream)),
          "context_decode");
}

}  // namespace
}  // namespace jahp::cuda

PYBIND11_MODULE(_cuda, m) {
    namespace py = pybind11;
    m.doc() = "CUDA kernels of jahp_fast; not public.";
    jahp::bind::register_errors();
    m.def("device_count", &jahp::cuda::device_count);
    m.def("devices", &jahp::cuda::devices);
    m.def("driver_version", [] { return jahp::cuda::version(cudaDriverGetVersion, "driver_version"); });
    m.def("runtime_version", [] { return jahp::cuda::version(cudaRuntimeGetVersion, "runtime_version"); });
    m.def("pack", &jahp::cuda::pack, py::arg("config"), py::arg("tensors"));
    m.def("workspace_bytes", &jahp::cuda::workspace_bytes, py::arg("blob"), py::arg("height"), py::arg("width"));
    m.def("decode", &jahp::cuda::start<jahp::cuda::decode_job>, py::arg("blob"), py::arg("model_ptr"),
          py::arg("images"), py::arg("stream") = 0);
    m.def("rows", &jahp::cuda::start<jahp::cuda::encode_job>, py::arg("blob"), py::arg("model_ptr"), py::arg("images"),
          py::arg("stream") = 0);
    m.def("symbol_checksum", &jahp::cuda::checksum, py::arg("z_ptr"), py::arg("z_count"), py::arg("y_ptr"),
          py::arg("y_count"), py::arg("stream") = 0, py::call_guard<py::gil_scoped_release>());
}
