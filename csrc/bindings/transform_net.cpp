// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/arrays.hpp"
#include "core/transform_net.hpp"

namespace jahp::bind {
namespace {

std::span<const float> optional_view(const py::object& object, const std::string& name, int dims) {
    return object.is_none() ? std::span<const float>() : view<float>(object, name.c_str(), dims);
}

ConvTensors conv_tensors(const py::tuple& layer, const std::string& name) {
    if (layer.size() != 6)
        throw Error(Fault::usage, name + " must be (kind, weight, bias, activation, gamma or steady, beta or varying)");
    const auto kind = layer[0].cast<std::string>(), activation = layer[3].cast<std::string>();
    ConvTensors t;
    t.name = name;
    t.weight = view<float>(layer[1], (name + ": weight").c_str(), 4);
    t.bias = view<float>(layer[2], (name + ": bias").c_str(), 1);
    const py::array weight = layer[1];
    if (weight.shape(2) != weight.shape(3)) throw Error(Fault::model, name + ": the kernel is not square");
    t.transposed = kind == "deconv";
    t.outputs = static_cast<int>(weight.shape(t.transposed ? 1 : 0));
    t.inputs = static_cast<int>(weight.shape(t.transposed ? 0 : 1));
    t.kernel = static_cast<int>(weight.shape(2));
    if (kind == "deconv" || kind == "conv_s2")
        t.stride = 2;
    else if (kind == "conv_s1")
        t.stride = 1;
    else if (kind == "conv")
        t.stride = t.kernel == 5 ? 2 : 1;
    else
        throw Error(Fault::usage, name + ": kind " + kind + " is none of conv, conv_s1, conv_s2, deconv");
    if (activation == "gdn" || activation == "igdn") {
        t.gamma = optional_view(layer[4], name + ": gamma", 2);
        t.beta = optional_view(layer[5], name + ": beta", 1);
        if (t.gamma.empty() || t.beta.empty())
            throw Error(Fault::usage, name + ": " + activation + " needs gamma and beta");
        t.inverse = activation == "igdn";
    } else if (activation == "local") {
        t.steady = optional_view(layer[4], name + ": steady", 1);
        t.varying = optional_view(layer[5], name + ": varying", 1);
        if (t.steady.empty() || t.varying.empty()) throw Error(Fault::usage, name + ": local needs steady and varying");
    } else if (activation == "relu") {
        t.slope = 0;
    } else if (activation == "leaky_relu") {
        t.slope = 0.01f;
    } else if (activation != "none") {
        throw Error(Fault::usage,
                    name + ": activation " + activation + " is none of none, relu, leaky_relu, gdn, igdn, local");
    }
    return t;
}

std::vector<ConvTensors> all_tensors(const py::sequence& layers) {
    std::vector<ConvTensors> tensors;
    for (const py::handle layer : layers)
        tensors.push_back(conv_tensors(layer.cast<py::tuple>(), "layer " + std::to_string(tensors.size())));
    return tensors;
}

std::shared_ptr<TransformNet> make_net(const py::sequence& layers, const std::string& isa, bool bf16) {
    const std::vector<ConvTensors> tensors = all_tensors(layers);
    const Isa with = parse_isa(isa.c_str());
    const py::gil_scoped_release release;
    return std::make_shared<TransformNet>(tensors, with, bf16 ? Precision::bf16 : Precision::f32);
}

// Keeps its net and its trace.
struct Stream {
    std::shared_ptr<const TransformNet> net;
    std::shared_ptr<GainTrace> trace;
    TransformStream stream;
    Stream(std::shared_ptr<const TransformNet> n, int height, int width, std::shared_ptr<GainTrace> t)
        : net(std::move(n)), trace(std::move(t)), stream(*net, height, width, trace.get()) {}

    py::array_t<float> as_rows(std::vector<float>&& values) const {
        const py::ssize_t w = stream.output_width(), c = net->outputs(),
                          n = static_cast<py::ssize_t>(values.size()) / (w * c);
        return to_array(std::move(values), {n, w, c});
    }

    py::array_t<float> push(const py::object& rows, int threads) {
        const auto values = view<float>(rows, "rows", 3);
        const py::array array = rows;
        if (array.shape(1) != stream.width() || array.shape(2) != net->inputs())
            throw Error(Fault::usage, "rows must be (count, " + std::to_string(stream.width()) + ", " +
                                          std::to_string(net->inputs()) + ")");
        std::vector<float> out;
        {
            const py::gil_scoped_release release;
            stream.push(values, threads, out);
        }
        return as_rows(std::move(out));
    }
};

}  // namespace

void register_transform_net(py::module_& m);
void register_transform_net(py::module_& m) {
    m.def("has_bf16", &cpu_has_bf16);
    m.def("check_bf16", [](const std::string& isa) { check_bf16(parse_isa(isa.c_str())); }, py::arg("isa") = "");
    py::class_<GainTrace, std::shared_ptr<GainTrace>>(m, "GainTrace")
        .def(py::init<>())
        .def("squares", [](const GainTrace& trace) {
            py::list levels;
            for (const GainTrace::Level& level : trace.levels())
                levels.append(to_array(std::vector<float>(level.all_squares()), {level.height(), level.width()}));
            return levels;
        });
    py::class_<TransformNet, std::shared_ptr<TransformNet>>(m, "TransformNet")
        .def(py::init(&make_net), py::arg("layers"), py::arg("isa") = "", py::arg("bf16") = false)
        .def(
            "followed_by",
            [](const TransformNet& net, const py::sequence& layers) {
                const std::vector<ConvTensors> tensors = all_tensors(layers);
                const py::gil_scoped_release release;
                return std::make_shared<TransformNet>(net.followed_by(tensors));
            },
            py::arg("layers"))
        .def(
            "run",
            [](std::shared_ptr<TransformNet> net, const py::object& x, int threads) {
                view<float>(x, "x", 3);
                const py::array array = x;
                Stream stream(std::move(net), static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1)),
                              nullptr);
                return stream.push(x, threads);
            },
            py::arg("x"), py::arg("threads") = 1)
        .def(
            "stream",
            [](std::shared_ptr<TransformNet> net, int height, int width, std::shared_ptr<GainTrace> trace) {
                return std::make_unique<Stream>(std::move(net), height, width, std::move(trace));
            },
            py::arg("height"), py::arg("width"), py::arg("trace") = nullptr);
    py::class_<Stream>(m, "TransformStream")
        .def("push", &Stream::push, py::arg("rows"), py::arg("threads") = 1)
        .def(
            "finish",
            [](const Stream& stream, int) {
                stream.stream.finish();
                return stream.as_rows({});
            },
            py::arg("threads") = 1);
}

}  // namespace jahp::bind
