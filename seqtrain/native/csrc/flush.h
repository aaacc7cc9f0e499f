// Flush-to-zero for as long as an object of this class lives, on its thread.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace seqtrain {

// Subnormal numbers, which fading gradients end in, cost a hundredfold; the thread's own mode comes back at the end.
class FlushToZero {
public:
#if defined(__SSE__)
    FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before_); }

private:
    unsigned before_;
#elif defined(__aarch64__)
    FlushToZero() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" : : "r"(before_ | (1ull << 24)));
    }
    ~FlushToZero() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

private:
    std::uint64_t before_;
#else
    FlushToZero() {}  // not trivial, or the compiler takes the variable for unused
#endif
};

}  // namespace seqtrain
