// What this processor can do with bfloat16.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace seqtrain {

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
