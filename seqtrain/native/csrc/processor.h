// What this processor can do.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace seqtrain {

#if defined(__x86_64__)
// The registers that the operating system saves, as bits of XCR0.
inline unsigned saved_registers() {
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
#endif

// The name of the best build of the engine for it.
inline const char* best_build() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBasic = 1u << 12 | 1u << 27 | 1u << 28;  // FMA, XGETBV, AVX
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kBasic) != kBasic) return "portable";
    constexpr unsigned kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 31;  // F, DQ, VL
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return "portable";
    if ((b & kAvx2) == 0 || (saved_registers() & 0x06) != 0x06) return "portable";
    return (b & kAvx512) == kAvx512 && (saved_registers() & 0xe6) == 0xe6 ? "avx512" : "avx2";
#else
    return "portable";
#endif
}

// Whether it has `vdpbf16ps` (AVX512_BF16).
inline bool multiplies_pairs() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
#else
    return false;
#endif
}

// Whether that is faster than float32. On AMD the instruction takes as long as a float32 one, which multiplies half as
// many numbers; on Intel (Cooper Lake to Granite Rapids) four times as long.
inline bool pairs_are_faster() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool amd = __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
    static const bool faster = amd && multiplies_pairs();
    return faster;
#else
    return false;
#endif
}

}  // namespace seqtrain
