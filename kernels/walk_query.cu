// One query of the walk encoding on the whole register: gather S, reduce T^t, phase, write T. No atomics.
//
//   g_(j,k) = sgn(H_jk) psi_(k,j),  g_(j,s1) = psi_(j,s2),  g_(j,s2) = psi_(j,s1)
//   v_j = sum_k sqrt(|H_jk|/alpha) g_(j,k) + sqrt(1 - r_j/alpha) g_(j,s1)
//   psi_(j,.) <- exp(-i phi) [ g_(j,.) + (exp(2 i phi) - 1) T_(j,.) v_j ]
//
// Index order: row by row as in CSR, the entries (j,k) of row j and after them s1 and s2: row j begins at
//   starts[j] + 2 j. `gather` holds for each entry the place of its transposed one, with the sign in the top bit.
// Thread mapping: LANES threads of a warp share a row, lane l has slots l, l + LANES, ...; HELD of them stay in
//   registers, those of longer rows are gathered twice. The rows of many systems may stand behind each other.
// complex: 2 * real bytes
// bytes: 2 * complex * (entries + 2 * rows) + (4 + real) * entries + (4 + real) * rows
// flops: 12 * entries + 24 * rows
// per amplitude (16 entries a row, complex128): 43 bytes, 12 flops

constexpr int HELD = 4;

template <typename Real>
struct WalkRow {
    const Complex<Real>* psi;
    const unsigned* gather;
    const Real* amplitude;
    Real slack;
    int entries;
    long long base;

    // S psi at a slot of this row
    __device__ __forceinline__ Complex<Real> reflected(int slot) const {
        if (slot >= entries) return psi[base + (slot == entries ? entries + 1 : entries)];
        const unsigned place = gather[slot];
        const Complex<Real> there = psi[place & 0x7fffffffu];
        return place >> 31 ? Complex<Real>{-there.re, -there.im} : there;
    }
    // T at a slot of this row
    __device__ __forceinline__ Real lifted(int slot) const {
        return slot < entries ? amplitude[slot] : slot == entries ? slack : Real(0);
    }
};

// psi = T v, before the first query.
template <typename Real, int LANES>
__global__ void walk_lift(const Complex<Real>* v, Complex<Real>* psi, long long size, int rows, const int* starts,
                          const Real* amplitude, const Real* slack) {
    const int row = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / LANES);
    if (row >= rows) return;
    const int entries = starts[row + 1] - starts[row];
    const WalkRow<Real> at = {nullptr, nullptr, amplitude + starts[row], slack[row], entries, 0};
    const Complex<Real> here = v[blockIdx.y * (long long)rows + row];
    psi += blockIdx.y * size + starts[row] + 2LL * row;
    for (int slot = threadIdx.x % LANES; slot < entries + 2; slot += LANES) psi[slot] = at.lifted(slot) * here;
}

// v = T^t psi, after the last query.
template <typename Real, int LANES>
__global__ void walk_lower(const Complex<Real>* psi, Complex<Real>* v, long long size, int rows, const int* starts,
                           const Real* amplitude, const Real* slack) {
    const int row = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / LANES);
    Complex<Real> sum = {0, 0};
    if (row < rows) {
        const int entries = starts[row + 1] - starts[row];
        const WalkRow<Real> at = {nullptr, nullptr, amplitude + starts[row], slack[row], entries, 0};
        psi += blockIdx.y * size + starts[row] + 2LL * row;
        for (int slot = threadIdx.x % LANES; slot <= entries; slot += LANES) sum = sum + at.lifted(slot) * psi[slot];
    }
    sum = sum_over_lanes<LANES>(sum);
    if (row < rows && threadIdx.x % LANES == 0) v[blockIdx.y * (long long)rows + row] = sum;
}

template <typename Real, int LANES>
__global__ void walk_query(const Complex<Real>* psi, Complex<Real>* result, long long size, int rows,
                           const int* starts, const unsigned* gather, const Real* amplitude, const Real* slack,
                           SEQUENCE_PARAMETERS(Real)) {
    SEQUENCE(Real);
    const int row = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / LANES);
    const int lane = threadIdx.x % LANES;
    const int system = row < rows ? sequence.system(row) : 0;
    const bool live = row < rows && sequence.runs(system);

    WalkRow<Real> at = {psi + blockIdx.y * size, gather, amplitude, Real(0), 0, 0};
    int slots = 0;
    if (live) {
        const int start = starts[row];
        at.gather += start;
        at.amplitude += start;
        at.slack = slack[row];
        at.entries = starts[row + 1] - start;
        at.base = start + 2LL * row;
        slots = at.entries + 2;
    }

    Complex<Real> held[HELD];
    Complex<Real> v = {0, 0};
#pragma unroll
    for (int u = 0; u < HELD; ++u) {
        const int slot = lane + u * LANES;
        if (slot < slots) held[u] = at.reflected(slot);
    }
#pragma unroll
    for (int u = 0; u < HELD; ++u) {
        const int slot = lane + u * LANES;
        if (slot < slots) v = v + at.lifted(slot) * held[u];
    }
    for (int slot = lane + HELD * LANES; slot < slots; slot += LANES) v = v + at.lifted(slot) * at.reflected(slot);
    v = sum_over_lanes<LANES>(v);
    if (!live) return;

    const Phase<Real> phase = sequence.phase(system);
    v = phase.change * v;
    Complex<Real>* out = result + blockIdx.y * size + at.base;
#pragma unroll
    for (int u = 0; u < HELD; ++u) {
        const int slot = lane + u * LANES;
        if (slot < slots) out[slot] = phase.common * (held[u] + at.lifted(slot) * v);
    }
    for (int slot = lane + HELD * LANES; slot < slots; slot += LANES)
        out[slot] = phase.common * (at.reflected(slot) + at.lifted(slot) * v);
}
