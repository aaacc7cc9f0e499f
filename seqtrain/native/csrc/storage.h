// How the factors of a matrix product are stored.
//
//   Float32   as they are
//   Rounded   rounded to bfloat16, but each in a float32: the product of a processor without bfloat16 instructions
//   Pairs     two neighbouring depths of a product in 32 bits, as `vdpbf16ps` wants them
//
// The sums are float32 in all of them. A bfloat16 is the upper half of a float32.
#pragma once

#include <algorithm>
#include <cstring>

#include "vector.h"

namespace seqtrain {

// Each lane rounded to the nearest bfloat16, ties to even; the lower halves are zero. NaN stays NaN.
inline Words rounded_bits(Vec v) {
    const Words bits = reinterpret_cast<Words>(v);
    const Words nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    const Words quiet_nan = (bits & 0xffff0000u) | 0x00400000u;
    return v == v ? nearest : quiet_nan;
}

inline std::uint32_t rounded_bits(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return (bits & 0xffff0000u) | 0x00400000u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
}

inline float as_float(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// `join` makes the 32 bits in which `depths` factors of one row or column are stored; `store_row` stores `depth` factors
// that lie side by side.

struct Float32 {
    static constexpr int depths = 1;
    static constexpr bool as_is = true;

    static Vec join(Vec v, Vec) { return v; }
    static float join(float x, float) { return x; }
    static Vec spread(const float* factor) { return *factor - Vec{}; }  // nothing is subtracted; -0 + 0 would be computed
    static void add_product(Vec& sum, Vec factor, Vec column) { sum += factor * column; }
    static void store_row(const float* from, std::int64_t depth, float* to) { std::copy_n(from, depth, to); }
};

struct Rounded : Float32 {
    static constexpr bool as_is = false;

    static Vec join(Vec v, Vec) { return reinterpret_cast<Vec>(rounded_bits(v)); }
    static float join(float x, float) { return as_float(rounded_bits(x)); }
    static void store_row(const float* from, std::int64_t depth, float* to) {
        std::int64_t k = 0;
        for (; k + kLanes <= depth; k += kLanes) store(to + k, join(load(from + k), Vec{}));
        for (; k < depth; ++k) to[k] = join(from[k], 0.0f);
    }
};

#if defined(__AVX512F__)
struct Pairs {
    static constexpr int depths = 2;
    static constexpr bool as_is = false;

    static Vec join(Vec first, Vec second) {
        return reinterpret_cast<Vec>((rounded_bits(first) >> 16) | rounded_bits(second));
    }
    static float join(float first, float second) {
        return as_float((rounded_bits(first) >> 16) | rounded_bits(second));
    }
    static Vec spread(const float* factor) {
        std::int32_t pair;
        std::memcpy(&pair, factor, sizeof pair);
        return reinterpret_cast<Vec>(_mm512_set1_epi32(pair));
    }
    // In assembly, so that one build serves processors with and without the instruction.
    static void add_product(Vec& sum, Vec factor, Vec column) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(factor), "v"(column));
    }
    static void store_row(const float* from, std::int64_t depth, float* to) {
        std::int64_t k = 0;
        for (; k + 2 * kLanes <= depth; k += 2 * kLanes, to += kLanes) {
            const Vec a = load(from + k), b = load(from + k + kLanes);
            store(to, join(shuffle<0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30>(a, b),
                           shuffle<1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31>(a, b)));
        }
        for (; k < depth; k += 2) *to++ = join(from[k], k + 1 < depth ? from[k + 1] : 0.0f);
    }
};
#endif

template <class Storage>
std::int64_t groups_of(std::int64_t depth) {
    return (depth + Storage::depths - 1) / Storage::depths;
}

}  // namespace seqtrain
