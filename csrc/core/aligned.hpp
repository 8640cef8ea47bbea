// SPDX-License-Identifier: Apache-2.0
// Vectors that start on a cache line: a 64-byte load never straddles two.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace jahp {

template <typename T>
struct CacheAligned {
    using value_type = T;
    static constexpr std::align_val_t kAlignment{64};
    CacheAligned() = default;
    template <typename U>
    CacheAligned(const CacheAligned<U>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
    void deallocate(T* p, std::size_t) { ::operator delete(p, kAlignment); }
    bool operator==(const CacheAligned&) const = default;
};

template <typename T>
using AlignedVector = std::vector<T, CacheAligned<T>>;

}  // namespace jahp
