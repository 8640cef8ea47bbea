// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/arrays.hpp"
#include "core/context_decoder.hpp"

namespace jahp::bind {
namespace {

// tensors: name -> array, as in a model file without the prefix "entropy." (docs/format.md, "Model file").
class TensorDict {
  public:
    explicit TensorDict(const py::dict& tensors) : tensors_(tensors) {}

    template <typename T>
    std::span<const T> get(const std::string& name, int dims = 1) const {
        if (!tensors_.contains(name)) throw Error(Fault::model, "tensor " + name + " is missing");
        return view<T>(tensors_[py::str(name)], name.c_str(), dims);
    }

    LayerTensors layer(const std::string& name) const {
        const auto weight = get<std::int8_t>(name + ".weight", 4);
        const py::array array = tensors_[py::str(name + ".weight")];
        if (array.shape(2) != array.shape(3)) throw Error(Fault::model, name + ".weight is not square");
        return {name, static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1)), static_cast<int>(array.shape(2)), weight,
                get<std::int32_t>(name + ".bias"), get<std::int32_t>(name + ".mul_pos"), get<std::int32_t>(name + ".mul_neg"),
                get<std::int32_t>(name + ".shift"), get<std::int32_t>(name + ".zero")};
    }

  private:
    const py::dict& tensors_;
};

std::unique_ptr<EntropyModel> make_model(const py::dict& config, const py::dict& tensors, const std::string& isa) {
    const TensorDict dict(tensors);
    EntropyTensors t;
    t.latents = config["latents"].cast<int>();
    t.hyper_latents = config["hyper_latents"].cast<int>();
    t.conditional = config["conditional"].cast<bool>();
    t.means = config["means"].cast<bool>();
    t.context = config["context"].cast<bool>();
    t.form = config["form"].cast<std::string>() == "A" ? Form::a : Form::b;
    t.activation_bits = config["activation_bits"].cast<int>();
    t.mean_bits = config["mean_bits"].cast<int>();
    t.z_bits = config["z_bits"].cast<int>();
    t.prob_bits = config["prob_bits"].cast<int>();
    if (t.hyper_latents > 0) {
        for (const char* name : {"h_s.0", "h_s.2", "h_s.4"}) t.h_s.push_back(dict.layer(name));
        t.z_offset = dict.get<std::int32_t>("z_offset");
    }
    if (t.context) {
        t.context_prediction.push_back(dict.layer("context_prediction"));
        for (const char* name : {"entropy_parameters.0", "entropy_parameters.2", "entropy_parameters.4"})
            t.entropy_parameters.push_back(dict.layer(name));
        t.context_mul = dict.get<std::int32_t>("context_input.mul");
        t.context_add = dict.get<std::int32_t>("context_input.add");
        t.context_shift = dict.get<std::int32_t>("context_input.shift");
    }
    t.table_low = dict.get<std::int32_t>("tables.low");
    t.table_size = dict.get<std::int32_t>("tables.size");
    t.table_starts = dict.get<std::uint16_t>("tables.starts");
    if (t.conditional) {
        t.scale_thresholds = dict.get<std::int32_t>("scale.thresholds");
        t.scale_row = dict.get<std::int32_t>("scale.row");
        t.scale_drop = dict.get<std::int32_t>("scale.drop");
    }
    return std::make_unique<EntropyModel>(t, parse_isa(isa.c_str()));
}

StreamLayout layout_of(int height, int width, int lanes, int skip, std::size_t min_bytes) { return {height, width, lanes, skip, min_bytes}; }

py::dict to_dict(const StageTimes& times) {
    py::dict d;
    d["h_s"] = times.h_s;
    d["ahead"] = times.ahead;
    d["context"] = times.context;
    d["coder"] = times.coder;
    return d;
}

py::tuple to_tuple(const EntropyModel& model, Latents&& l) {
    const py::ssize_t h = l.height, w = l.width, m = model.latents(), hz = l.hyper_height, wz = l.hyper_width, n = model.hyper_latents();
    return py::make_tuple(to_array(std::move(l.z), {hz, wz, n}), to_array(std::move(l.y), {h, w, m}));
}

}  // namespace

void register_entropy_model(py::module_& m);
void register_entropy_model(py::module_& m) {
    py::class_<EntropyModel>(m, "EntropyModel")
        .def(py::init(&make_model), py::arg("config"), py::arg("tensors"), py::arg("isa") = "")
        .def(
            "decode",
            [](const EntropyModel& model, const py::buffer& payload, int height, int width, int lanes, int skip, std::size_t min_bytes, int threads) {
                const py::buffer_info info = payload.request();
                const auto bytes = bytes_view(info, "payload");
                const StreamLayout layout = layout_of(height, width, lanes, skip, min_bytes);
                StageTimes times;
                Latents latents;
                {
                    const py::gil_scoped_release release;
                    latents = decode_latents(model, bytes, layout, threads, &times);
                }
                const py::tuple arrays = to_tuple(model, std::move(latents));
                return py::make_tuple(arrays[0], arrays[1], to_dict(times));
            },
            py::arg("payload"), py::arg("height"), py::arg("width"), py::arg("lanes"), py::arg("skip"), py::arg("min_bytes"), py::arg("threads"))
        .def(
            "encode",
            [](const EntropyModel& model, const py::object& z, const py::object& y, int lanes, int skip, std::size_t min_bytes, int threads) {
                const auto zs = view<std::int32_t>(z, "z", 3), ys = view<std::int32_t>(y, "y", 3);
                const py::array za = z, ya = y;
                Latents latents;
                latents.height = static_cast<int>(ya.shape(0));
                latents.width = static_cast<int>(ya.shape(1));
                latents.hyper_height = static_cast<int>(za.shape(0));
                latents.hyper_width = static_cast<int>(za.shape(1));
                if (ya.shape(2) != model.latents() || za.shape(2) != model.hyper_latents())
                    throw Error(Fault::usage, "latents have the wrong number of channels");
                StreamLayout layout = layout_of(latents.height, latents.width, lanes, skip, min_bytes);
                StageTimes times;
                std::vector<std::uint8_t> payload;
                {
                    const py::gil_scoped_release release;
                    latents.z.assign(zs.begin(), zs.end());
                    latents.y.assign(ys.begin(), ys.end());
                    payload = encode_latents(model, latents, layout, threads, &times);
                }
                const py::tuple arrays = to_tuple(model, std::move(latents));
                return py::make_tuple(to_bytes(payload), arrays[1], layout.lanes, to_dict(times));
            },
            py::arg("z"), py::arg("y"), py::arg("lanes"), py::arg("skip"), py::arg("min_bytes"), py::arg("threads"));
}

}  // namespace jahp::bind
