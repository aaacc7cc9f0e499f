// The threads of one call, each with flush-to-zero on.
#pragma once

#include <omp.h>

#include "flush.h"

namespace seqtrain {

// Calls task(n, team) on each thread n of a team of at most `threads`. It must not throw.
template <class Task>
void run_team(int threads, Task task) {
#pragma omp parallel num_threads(threads)
    {
        const FlushToZero guard;
        task(omp_get_thread_num(), omp_get_num_threads());
    }
}

// Called by every thread of a team: none goes on before all are here.
inline void wait_for_team() {
#pragma omp barrier
}

}  // namespace seqtrain
