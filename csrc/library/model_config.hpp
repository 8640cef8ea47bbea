// SPDX-License-Identifier: Apache-2.0
// What the tensors of a model file mean (docs/reference/format.md, "Config").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/entropy_model.hpp"

namespace jahp {

constexpr int kQualitySteps = 20;  // a file's quality is in steps of 1/20

// A quality lies `t` of `steps` twentieths above that of `row`; t is 0 only at the first row.
struct Between {
    std::size_t row;
    std::int64_t t, steps;
};

struct ModelConfig {
    std::string architecture;
    int latents = 0, hyper_latents = 0;  // M and N; N is 0 without hyperprior
    Form form = Form::a;
    int activation_bits = 8, mean_bits = 0, z_bits = 0, prob_bits = 15;
    std::vector<double> qualities;  // rising; one row of the gains each

    bool conditional() const { return architecture != "bmshj2018-factorized"; }
    bool means() const { return architecture.starts_with("mbt2018"); }
    bool context() const { return architecture == "mbt2018-context" || architecture == "mbt2018"; }
    std::int32_t activation_limit() const { return activation_bits == 8 ? 127 : 4095; }
    int frac_bits() const { return form == Form::b ? mean_bits : 0; }  // of decoded latents
    Between between(double quality) const;                             // two of the qualities
};

// Error(model) for what is no config, in the words of jahp_fast.entropy.model_file.
ModelConfig parse_config(std::span<const std::uint8_t> text);

// A number as Python's :g shows it.
std::string short_number(double value);
// With so many decimal places; |value| below 10^20.
std::string fixed_number(double value, int places);

}  // namespace jahp
