// SPDX-License-Identifier: Apache-2.0
// Checked views of NumPy arrays and bytes-like objects. Nothing is converted or copied behind the caller's back.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace jahp::bind {

namespace py = pybind11;

// A C-contiguous array of exactly T with `dims` dimensions; else Error(usage) naming it. Valid while the object lives.
template <typename T>
std::span<const T> view(const py::object& object, const char* name, int dims = 1) {
    using Array = py::array_t<T, py::array::c_style>;
    if (!Array::check_(object))
        throw Error(Fault::usage, std::string(name) + " must be a C-contiguous array of " +
                                      py::str(py::dtype::of<T>()).cast<std::string>());
    const auto array = py::reinterpret_borrow<Array>(object);
    if (array.ndim() != dims)
        throw Error(Fault::usage, std::string(name) + " must have " + std::to_string(dims) + " dimensions");
    return {array.data(), static_cast<std::size_t>(array.size())};
}

inline std::span<const std::uint8_t> bytes_view(const py::buffer_info& info, const char* name) {
    if (info.itemsize != 1 || info.ndim != 1 || (info.size > 1 && info.strides[0] != 1))
        throw Error(Fault::usage, std::string(name) + " must be contiguous bytes");
    return {static_cast<const std::uint8_t*>(info.ptr), static_cast<std::size_t>(info.size)};
}

// Hands a vector to NumPy without a copy.
template <typename T>
py::array_t<T> to_array(std::vector<T>&& values, const std::vector<py::ssize_t>& shape) {
    auto* owned = new std::vector<T>(std::move(values));
    const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<T>(shape, owned->data(), owner);
}

inline py::bytes to_bytes(const std::vector<std::uint8_t>& v) {
    return {reinterpret_cast<const char*>(v.data()), v.size()};
}

}  // namespace jahp::bind
