// A vector of floats, its loads and stores, and the functions that the cells are written in.
//
// The width is the compiler's: the same source, compiled with other flags, is another engine. It is written in the
// vector extensions of GCC and clang, so the 4-lane build is also the one for ARM; the wider two use an intrinsic where
// those have no word.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace seqtrain {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#else
constexpr int kLanes = 4;
#if defined(__aarch64__)
constexpr int kRegisters = 24;  // of 32: a factor of the micro-kernel takes a whole one
#else
constexpr int kRegisters = 16;
#endif
#endif

#if defined(__clang__)
#define SEQTRAIN_UNROLL(count) _Pragma("unroll")
#else
#define SEQTRAIN_PRAGMA(text) _Pragma(#text)
#define SEQTRAIN_UNROLL(count) SEQTRAIN_PRAGMA(GCC unroll count)
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
// Through this type memory of any alignment is read by one plain load; memcpy would go by way of the stack.
typedef float LooseVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const LooseVec*>(from); }
inline void store(float* to, Vec v) { *reinterpret_cast<LooseVec*>(to) = v; }

// Lane k of the result is lane from[k] of a, or of b if that is past the end of a.
template <int... from>
Vec shuffle(Vec a, Vec b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, from...);
#else
    return __builtin_shuffle(a, b, Ints{from...});
#endif
}

// Exchanges two rows' lanes whose number has the bit d: those of `a` for those of `b` that come d before.
template <int d, int... lane>
void exchange(Vec& a, Vec& b, std::integer_sequence<int, lane...>) {
    const Vec old = a;
    a = shuffle<(lane & d ? kLanes + lane - d : lane)...>(a, b);
    b = shuffle<(lane & d ? kLanes + lane : lane + d)...>(old, b);
}

// Turns the rows of a square into its columns: in turn for d = 1, 2, 4, ..., rows and lanes whose number has the bit d
// change places.
template <int d = 1>
void transpose(Vec (&rows)[kLanes]) {
    if constexpr (d < kLanes) {
        SEQTRAIN_UNROLL(16)
        for (int row = 0; row < kLanes; ++row)
            if (!(row & d)) exchange<d>(rows[row], rows[row + d], std::make_integer_sequence<int, kLanes>{});
        transpose<2 * d>(rows);
    }
}

// All lanes of a vector, or the first `count`: the last units of a hidden size that is no multiple of the lanes.
struct AllLanes {
    Vec load(const float* from) const { return seqtrain::load(from); }
    void store(float* to, Vec v) const { seqtrain::store(to, v); }
};

struct SomeLanes {
    explicit SomeLanes(int lanes) : count(lanes) {}
#if defined(__AVX512F__)
    Vec load(const float* from) const { return _mm512_maskz_loadu_ps(mask(), from); }
    void store(float* to, Vec v) const { _mm512_mask_storeu_ps(to, mask(), v); }
    __mmask16 mask() const { return static_cast<__mmask16>((1u << count) - 1); }
#elif defined(__AVX2__)
    Vec load(const float* from) const { return _mm256_maskload_ps(from, mask()); }
    void store(float* to, Vec v) const { _mm256_maskstore_ps(to, mask(), v); }
    __m256i mask() const {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
#else
    Vec load(const float* from) const {
        Vec v = {};
        for (int lane = 0; lane < count; ++lane) v[lane] = from[lane];
        return v;
    }
    void store(float* to, Vec v) const {
        for (int lane = 0; lane < count; ++lane) to[lane] = v[lane];
    }
#endif
    int count;
};

// NaN stays in all of them: a run that diverges must be seen to. Of the x86 minimum and maximum the second operand is
// the one that stays; GCC does not find these instructions for the comparison.
#if defined(__AVX512F__)
inline Vec at_most(Vec x, float bound) { return _mm512_min_ps(_mm512_set1_ps(bound), x); }
inline Vec at_least(Vec x, float bound) { return _mm512_max_ps(_mm512_set1_ps(bound), x); }
#elif defined(__AVX2__)
inline Vec at_most(Vec x, float bound) { return _mm256_min_ps(_mm256_set1_ps(bound), x); }
inline Vec at_least(Vec x, float bound) { return _mm256_max_ps(_mm256_set1_ps(bound), x); }
#else
inline Vec at_most(Vec x, float bound) { return x > bound ? Vec{} + bound : x; }
inline Vec at_least(Vec x, float bound) { return x < bound ? Vec{} + bound : x; }
#endif
inline Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }

// e^x = 2^n (1 + p) with n whole and |r| <= ln(2)/2, p = e^r - 1.
struct Exponential {
    Vec scale;  // 2^n
    Vec p;
};

inline Exponential exponential(Vec x) {  // |x| at most 87, or NaN
    const float to_whole = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, left in the low bits
    const Vec shifted = x * 1.44269504f + to_whole;
    const Vec n = shifted - to_whole;
    // ln(2) in two parts; the first has so few bits that n times it is exact, with and without fused multiply-add.
    const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const Vec q = 0.5f + r * (0.16666576266f + r * (0.04166655242f + r * (0.00836323295f + r * 0.00139262504f)));
    const Words exponent = (reinterpret_cast<Words>(shifted) << 23) + (127u << 23);
    return {reinterpret_cast<Vec>(exponent), r + r * r * q};
}

inline Vec sigmoid(Vec x) {
    const Exponential e = exponential(at_least(at_most(-x, 87.0f), -87.0f));
    return 1.0f / (1.0f + (e.scale + e.scale * e.p));
}

// By way of e^2x - 1, which keeps its accuracy near zero: tanh = (e^2x - 1) / (e^2x + 1).
inline Vec tanh(Vec x) {
    const Exponential e = exponential(at_least(at_most(x + x, 40.0f), -40.0f));
    const Vec less_one = e.scale * e.p + (e.scale - 1.0f);
    return less_one / (less_one + 2.0f);
}

}  // namespace seqtrain
