// Runs the bodies of CUDA kernels on a CPU, one block at a time, so that they can be compared with NumPy.
//
// Each CUDA thread is a fiber (fast, one after the other, in a fixed order), or with -DQNEWTON_THREADS an operating
// system thread, so that a race is one for -fsanitize=thread as well. __syncthreads and __shfl_xor_sync wait for the
// block and for the warp. What a GPU would not survive aborts: a barrier that only a part of the block reaches, and a
// shuffle that a lane of the full mask has left.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(most)
#define __align__(bytes) alignas(bytes)
#define DYNAMIC_SHARED(name) unsigned char* name = host::block->shared.data()

using std::fmax;
using std::sqrt;

namespace host {

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "cuda_host: %s\n", what);
    std::abort();
}

struct Block {
    dim3 index, size, grid;
    std::vector<unsigned char> shared;
    std::vector<uint64_t> lanes;  // what each thread shows to its warp
};
inline Block* block = nullptr;

}  // namespace host

#ifdef QNEWTON_THREADS
#include <barrier>
#include <memory>
#include <thread>

namespace host {
struct Barriers {
    std::barrier<> whole;
    std::vector<std::unique_ptr<std::barrier<>>> warps;
    explicit Barriers(unsigned threads) : whole(threads) {
        for (unsigned first = 0; first < threads; first += 32)
            warps.push_back(std::make_unique<std::barrier<>>(threads - first < 32 ? threads - first : 32));
    }
};
inline Barriers* barriers = nullptr;
inline thread_local unsigned self = 0;

inline void wait_for_block() { barriers->whole.arrive_and_wait(); }
inline void wait_for_warp() { barriers->warps[self / 32]->arrive_and_wait(); }

inline void run_block(const std::function<void()>& body) {
    const unsigned count = block->size.x * block->size.y * block->size.z;
    Barriers all(count);
    barriers = &all;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < count; ++t)
        threads.emplace_back([&body, &all, t] {
            self = t;
            body();
            all.warps[t / 32]->arrive_and_drop();
            all.whole.arrive_and_drop();
        });
    for (std::thread& thread : threads) thread.join();
}
}  // namespace host
#else
#include <ucontext.h>

namespace host {
enum class State { ready, at_block, at_warp, done };
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    State state = State::ready;
};
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline const std::function<void()>* body = nullptr;
inline unsigned self = 0;

inline void wait(State reason) {
    fibers[self].state = reason;
    swapcontext(&fibers[self].context, &scheduler);
}
inline void wait_for_block() { wait(State::at_block); }
inline void wait_for_warp() { wait(State::at_warp); }
inline void enter() {
    (*body)();
    fibers[self].state = State::done;
    swapcontext(&fibers[self].context, &scheduler);
}

inline void run_block(const std::function<void()>& what) {
    const unsigned count = block->size.x * block->size.y * block->size.z;
    body = &what;
    if (fibers.size() < count) fibers.resize(count);
    for (unsigned t = 0; t < count; ++t) {
        Fiber& fiber = fibers[t];
        fiber.stack.resize(32768);
        fiber.state = State::ready;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, enter, 0);
    }
    for (;;) {
        for (unsigned t = 0; t < count; ++t)
            if (fibers[t].state == State::ready) {
                self = t;
                swapcontext(&scheduler, &fibers[t].context);
            }
        bool progress = false;
        unsigned at_block = 0, done = 0;
        for (unsigned first = 0; first < count; first += 32) {
            unsigned at_warp = 0, gone = 0;
            const unsigned last = first + 32 < count ? first + 32 : count;
            for (unsigned t = first; t < last; ++t) {
                at_warp += fibers[t].state == State::at_warp;
                at_block += fibers[t].state == State::at_block;
                gone += fibers[t].state == State::done;
            }
            done += gone;
            if (!at_warp) continue;
            if (at_warp < last - first) fail("a shuffle that not every lane of the warp takes part in");
            for (unsigned t = first; t < last; ++t) fibers[t].state = State::ready;
            progress = true;
        }
        if (done == count) return;
        if (progress) continue;
        if (at_block + done < count || done) fail("a barrier that not every thread of the block reaches");
        for (unsigned t = 0; t < count; ++t) fibers[t].state = State::ready;
    }
}
}  // namespace host
#endif

// where a thread stands: computed from the number of the running one
struct ThreadIndex {
    struct X { operator unsigned() const { return host::self % host::block->size.x; } } x;
    struct Y { operator unsigned() const { return host::self / host::block->size.x % host::block->size.y; } } y;
};
struct BlockIndex {
    struct X { operator unsigned() const { return host::block->index.x; } } x;
    struct Y { operator unsigned() const { return host::block->index.y; } } y;
};
struct BlockSize {
    struct X { operator unsigned() const { return host::block->size.x; } } x;
    struct Y { operator unsigned() const { return host::block->size.y; } } y;
};
struct GridSize {
    struct X { operator unsigned() const { return host::block->grid.x; } } x;
    struct Y { operator unsigned() const { return host::block->grid.y; } } y;
};
inline ThreadIndex threadIdx;
inline BlockIndex blockIdx;
inline BlockSize blockDim;
inline GridSize gridDim;

inline void __syncthreads() { host::wait_for_block(); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    if (mask != 0xffffffffu) host::fail("a shuffle of a part of a warp");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    host::block->lanes[host::self] = bits;
    host::wait_for_warp();
    bits = host::block->lanes[host::self ^ (unsigned)distance];
    host::wait_for_warp();
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

namespace host {
template <typename... Arguments, size_t... place>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<place...>) {
    kernel(*static_cast<Arguments*>(arguments[place])...);
}

// Every block of a grid, one after the other; `arguments` point to the values, as for cuLaunchKernel.
template <typename... Arguments>
int launch(void (*kernel)(Arguments...), const unsigned* grid, const unsigned* size, unsigned shared, void** arguments,
           const int* bytes, int count) {
    const int expected[] = {(int)sizeof(Arguments)...};
    if (count != (int)sizeof...(Arguments)) return 1;
    for (int i = 0; i < count; ++i)
        if (bytes[i] != expected[i]) return 2 + i;
    Block here;
    here.size = {size[0], size[1], size[2]};
    here.grid = {grid[0], grid[1], grid[2]};
    here.lanes.resize((size[0] * size[1] * size[2] + 31) / 32 * 32);
    block = &here;
    for (unsigned y = 0; y < grid[1]; ++y)
        for (unsigned x = 0; x < grid[0]; ++x) {
            here.index = {x, y, 0};
            here.shared.assign(shared, 0xff);  // no kernel may rely on what it finds there
            run_block([&] { call(kernel, arguments, std::index_sequence_for<Arguments...>{}); });
        }
    block = nullptr;
    return 0;
}
}  // namespace host
