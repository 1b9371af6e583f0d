// What the query kernels share: a complex number of two reals, the phases of a sequence, and sums over lanes.
//
// A query k of a sequence is S, and after it the phase phi_k:   psi <- exp(-i phi) [ g + (exp(2 i phi) - 1) T T^t g ],  g = S psi
// The kernels read exp(-i phi) and exp(2 i phi) - 1 from a table in device memory, at the number of the query that a
// counter in device memory plus a constant gives: so a recorded CUDA graph serves every stretch of every sequence.
//
// Index order: a register of k columns is k planes, one after the other; blockIdx.y is the plane.

#ifndef DYNAMIC_SHARED  // the host build of the tests has its own
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// Two reals side by side, aligned so that one load or store moves both.
template <typename Real>
struct __align__(2 * sizeof(Real)) Complex {
    Real re, im;
};

template <typename Real>
__device__ __forceinline__ Complex<Real> operator+(Complex<Real> a, Complex<Real> b) {
    return {a.re + b.re, a.im + b.im};
}

template <typename Real>
__device__ __forceinline__ Complex<Real> operator*(Real a, Complex<Real> b) {
    return {a * b.re, a * b.im};
}

template <typename Real>
__device__ __forceinline__ Complex<Real> operator*(Complex<Real> a, Complex<Real> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// exp(-i phi) and exp(2 i phi) - 1.
template <typename Real>
struct __align__(2 * sizeof(Real)) Phase {
    Complex<Real> common, change;
};

// Which query a launch makes: *first + offset. `phases` holds one row a query and in it one phase for each system.
template <typename Real>
struct Sequence {
    const Phase<Real>* phases;
    const int* first;
    const int* degrees;        // queries of each system
    const int* system_of_row;  // null where there is one system
    int offset, systems;

    __device__ __forceinline__ int query() const { return *first + offset; }
    __device__ __forceinline__ int system(int row) const { return system_of_row ? system_of_row[row] : 0; }
    // a system whose circuit has ended keeps its register while longer ones go on
    __device__ __forceinline__ bool runs(int system) const { return query() < degrees[system]; }
    __device__ __forceinline__ Phase<Real> phase(int system) const {
        return phases[(long long)query() * systems + system];
    }
};

// A kernel takes the members of its sequence one by one: plain arguments can be passed from anywhere.
#define SEQUENCE_PARAMETERS(Real)                                                                                 \
    const Phase<Real>*phases, const int *first, const int *degrees, const int *system_of_row, int offset, int systems
#define SEQUENCE(Real) \
    const Sequence<Real> sequence = { phases, first, degrees, system_of_row, offset, systems }

// The sum over the LANES threads that share a row, in a fixed order; every thread of the warp has to call it.
template <int LANES, typename Real>
__device__ __forceinline__ Complex<Real> sum_over_lanes(Complex<Real> v) {
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        v.re += __shfl_xor_sync(0xffffffffu, v.re, distance);
        v.im += __shfl_xor_sync(0xffffffffu, v.im, distance);
    }
    return v;
}

// Moves the counter of a sequence on, at the end of a recorded stretch of queries.
__global__ void advance(int* first, int queries) { *first += queries; }
