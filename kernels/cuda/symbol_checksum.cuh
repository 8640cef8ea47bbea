// SPDX-License-Identifier: Apache-2.0
// The checksum of an image's symbols on the device that holds them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace jahp::cuda {

// The sum of symbol_mix(index, value) over z and then y, modulo 2^32: what csrc/core/context_decoder.hpp's
// symbol_checksum gives for the same arrays.
// z_dev, y_dev: int32 arrays of z_count and y_count elements on the current device, 4-byte aligned; null only if empty.
// Work is queued on `stream`, behind whatever fills the arrays; returns when the sum is on the host. Needs 4 bytes of
// device memory of its own. *sum is unchanged unless cudaSuccess is returned.
cudaError_t symbol_checksum(const std::int32_t* z_dev, std::size_t z_count, const std::int32_t* y_dev,
                            std::size_t y_count, std::uint32_t* sum, cudaStream_t stream);

}  // namespace jahp::cuda
