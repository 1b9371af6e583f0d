// A bare gather-copy: what the memory of a GPU gives to the accesses of a random sparsity, and to nothing else.
//
//   out_i = in_(index_i)
//
// Index order: i = 0..count-1, as the index array has it.
// Thread mapping: EACH elements a thread, blockDim.x apart, all their indices before the first of their elements.
// complex: 2 * real bytes
// bytes: (2 * complex + 4) * count
// flops: 0

constexpr int EACH = 4;

template <typename Real>
__global__ void gather_copy(const Complex<Real>* in, Complex<Real>* out, const unsigned* index, long long count) {
    const long long first = (long long)blockIdx.x * blockDim.x * EACH + threadIdx.x;
    unsigned place[EACH];
    Complex<Real> held[EACH];
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        const long long i = first + (long long)e * blockDim.x;
        place[e] = i < count ? index[i] : 0;
    }
#pragma unroll
    for (int e = 0; e < EACH; ++e) held[e] = in[place[e]];
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        const long long i = first + (long long)e * blockDim.x;
        if (i < count) out[i] = held[e];
    }
}
