// SPDX-License-Identifier: Apache-2.0
// The one exception of the core. `fault` tells the bindings which Python class to raise.
#pragma once

#include <stdexcept>
#include <string>

namespace jahp {

enum class Fault {
    format,  // a stream is damaged, truncated or lying
    model,   // a model's tensors contradict each other or could overflow
    usage,   // an argument is out of its stated range
    device,  // an accelerator is missing or failed
    image,   // a picture that cannot be encoded
    unknown_model,  // a stream names a model that is not at hand
};

class Error : public std::runtime_error {
public:
    Error(Fault fault, const std::string& what) : std::runtime_error(what), fault_(fault) {}
    Fault fault() const noexcept { return fault_; }

private:
    Fault fault_;
};

}  // namespace jahp
