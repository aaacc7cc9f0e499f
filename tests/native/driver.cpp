// Runs calls of the engine that come through standard input, for a process on another machine (elsewhere.py).
//
// A call comes as blocks of memory and the places in them where a pointer to another block belongs. All blocks go back.

#include <cstdio>
#include <cstdlib>

#include "engine.cpp"

namespace {

template <class T>
T read_one() {
    T value;
    if (std::fread(&value, sizeof(value), 1, stdin) != 1) std::exit(0);  // the end
    return value;
}

// What block 0 holds for a product.
struct ProductCall {
    std::int64_t depth, columns;
    const seqtrain::Matrix* b;
    const float* bias;
    const seqtrain::Factor* factors;
    std::int32_t count, threads, storage;
};

}  // namespace

int main() {
    for (;;) {
        const auto kernel = read_one<std::int64_t>(), backward = read_one<std::int64_t>();  // -1: a product; -2: an output layer
        std::vector<std::vector<char>> blocks(read_one<std::int64_t>());
        for (std::vector<char>& block : blocks) {
            block.resize(read_one<std::int64_t>());
            if (std::fread(block.data(), 1, block.size(), stdin) != block.size()) return 1;
        }
        for (auto pointers = read_one<std::int64_t>(); pointers > 0; --pointers) {
            const auto block = read_one<std::int64_t>(), offset = read_one<std::int64_t>();
            const char* target = blocks[read_one<std::int64_t>()].data();
            std::memcpy(blocks[block].data() + offset, &target, sizeof(target));
        }
        std::int64_t failed;
        if (kernel == -1) {
            const auto* call = reinterpret_cast<const ProductCall*>(blocks[0].data());
            failed = seqtrain_product(call->depth, call->columns, call->b, call->bias, call->factors, call->count,
                                      call->threads, call->storage);
        } else if (kernel == -2) {
            failed = seqtrain_cross_entropy(reinterpret_cast<const seqtrain::CrossEntropy*>(blocks[0].data()));
        } else {
            failed = seqtrain_run(static_cast<int>(kernel), static_cast<int>(backward),
                                  reinterpret_cast<const Call*>(blocks[0].data()));
        }
        std::fwrite(&failed, sizeof(failed), 1, stdout);
        for (const std::vector<char>& block : blocks) std::fwrite(block.data(), 1, block.size(), stdout);
        std::fflush(stdout);
    }
}
