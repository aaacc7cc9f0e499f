// Memory that a thread keeps for its next call: writing to fresh pages costs more than packing a matrix does.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace seqtrain {

constexpr std::size_t kKeptBlocks = 8;

// A vector whose address is no multiple of its size lies in two lines of the cache.
constexpr int kLineFloats = 16;  // of a line of the cache
constexpr std::align_val_t kLine{kLineFloats * sizeof(float)};

struct Free {
    void operator()(float* data) const { ::operator delete[](data, kLine); }
};

struct KeptBlock {
    std::unique_ptr<float[], Free> data;
    std::size_t size;
};

inline std::vector<KeptBlock>& kept_blocks() {
    thread_local std::vector<KeptBlock> blocks;
    return blocks;
}

// A block of at least `size` floats, at most twice as many if it was kept.
class Scratch {
public:
    explicit Scratch(std::size_t size) {
        std::vector<KeptBlock>& kept = kept_blocks();
        kept.reserve(kKeptBlocks);
        for (std::size_t n = 0; n < kept.size(); ++n)
            if (size <= kept[n].size && kept[n].size <= 2 * size) {
                block_ = std::move(kept[n]);
                kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(n));
                return;
            }
        block_ = {std::unique_ptr<float[], Free>(new (kLine) float[size]), size};
    }

    ~Scratch() {
        std::vector<KeptBlock>& kept = kept_blocks();
        if (!block_.data) return;  // moved from
        if (kept.size() == kKeptBlocks) kept.erase(kept.begin());
        kept.push_back(std::move(block_));
    }

    Scratch(Scratch&&) = default;

    float* get() const { return block_.data.get(); }

private:
    KeptBlock block_;
};

}  // namespace seqtrain
