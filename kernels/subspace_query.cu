// One query in the two-dimensional recurrence psi = T u + S T v, fused with the product: exact for any symmetric encoding.
//
//   S swaps the two; the phase adds (exp(2 i phi) - 1)(u + (H/alpha) v) to u (the factor exp(-i phi) is left to the end):
//   u' = v + (exp(2 i phi) - 1)(v + (H/alpha) u),   v' = u
// u' is written over v, which only its own row reads; the next query is given the two in the other order.
//
// Index order: vectors (N, k), the columns innermost. Here, and only here, blockIdx.y counts groups of COLUMNS columns.
// Thread mapping: LANES threads of a warp share a row of a CSR matrix; a whole warp shares one of a dense matrix
//   (row-major). The rows of many systems may stand behind each other, with an alpha each.
// complex: 2 * real bytes
// bytes: (4 + real) * entries + 4 * rows + 3 * complex * rows
// flops: 4 * entries + 12 * rows
// bytes of the dense form: real * entries + 3 * complex * rows
// per amplitude of u (16 entries a row, complex128): 244 bytes, 76 flops

template <int COLUMNS, typename Real>
__device__ __forceinline__ void phase_row(Complex<Real>* v, const Complex<Real>* sum, Real inverse_alpha,
                                          Complex<Real> change, int count) {
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c)
        if (c < count) v[c] = v[c] + change * (v[c] + inverse_alpha * sum[c]);
}

template <typename Real, int LANES, int COLUMNS>
__global__ void subspace_query(const Complex<Real>* u, Complex<Real>* v, int rows, int columns, const int* starts,
                               const int* indices, const Real* values, const Real* inverse_alpha,
                               SEQUENCE_PARAMETERS(Real)) {
    SEQUENCE(Real);
    const int row = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / LANES);
    const int lane = threadIdx.x % LANES;
    const int system = row < rows ? sequence.system(row) : 0;
    const bool live = row < rows && sequence.runs(system);
    const int column = blockIdx.y * COLUMNS;
    const int count = columns - column < COLUMNS ? columns - column : COLUMNS;

    Complex<Real> sum[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] = {0, 0};
    const int stop = live ? starts[row + 1] : 0;
    for (int e = (live ? starts[row] : 0) + lane; e < stop; e += LANES) {
        const Real value = values[e];
        const Complex<Real>* there = u + (long long)indices[e] * columns + column;
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            if (c < count) sum[c] = sum[c] + value * there[c];
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] = sum_over_lanes<LANES>(sum[c]);
    if (live && lane == 0)
        phase_row<COLUMNS>(v + (long long)row * columns + column, sum, inverse_alpha[system],
                           sequence.phase(system).change, count);
}

template <typename Real, int COLUMNS>
__global__ void subspace_query_dense(const Complex<Real>* u, Complex<Real>* v, int rows, int columns,
                                     const Real* matrix, const Real* inverse_alpha, SEQUENCE_PARAMETERS(Real)) {
    SEQUENCE(Real);
    const int row = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / 32);
    const int lane = threadIdx.x % 32;
    const bool live = row < rows && sequence.runs(0);
    const int column = blockIdx.y * COLUMNS;
    const int count = columns - column < COLUMNS ? columns - column : COLUMNS;

    Complex<Real> sum[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] = {0, 0};
    const Real* values = matrix + (long long)row * rows;
#pragma unroll 4
    for (int k = lane; live && k < rows; k += 32) {
        const Real value = values[k];
        const Complex<Real>* there = u + (long long)k * columns + column;
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            if (c < count) sum[c] = sum[c] + value * there[c];
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] = sum_over_lanes<32>(sum[c]);
    if (live && lane == 0)
        phase_row<COLUMNS>(v + (long long)row * columns + column, sum, inverse_alpha[0], sequence.phase(0).change,
                           count);
}
