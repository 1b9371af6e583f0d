// One query of the matching encoding on the whole register: gather S, reduce T^t, phase, write T. No atomics.
//
//   (a, b) = psi_(l,.,P_l j),  g_(l,0,j) = c a + s b,  g_(l,1,j) = s a - c b,  c = c_(l,j),  s = sqrt(1 - c^2)
//   v_j = sum_l sqrt(m_l/alpha) g_(l,0,j)
//   psi_(l,0,j) <- exp(-i phi) [ g_(l,0,j) + (exp(2 i phi) - 1) sqrt(m_l/alpha) v_j ],  psi_(l,1,j) <- exp(-i phi) g_(l,1,j)
//
// Index order: colour l, then 0 or 1, then j.
// Thread mapping: one thread for each j, over all colours; neighbours in a warp are neighbours in memory. Between the
//   two passes g_(l,0,j) waits in shared memory, or in the result where there are too many colours for it.
// complex: 2 * real bytes
// bytes: (4 * complex + 4 + real) * colours * rows
// flops: 25 * colours * rows
// per amplitude (complex128): 38 bytes, 13 flops

template <typename Real>
__global__ void matching_query(const Complex<Real>* psi, Complex<Real>* result, long long size, int rows, int colours,
                               const int* partner, const Real* cosine, const Real* amplitude, int in_shared_memory,
                               SEQUENCE_PARAMETERS(Real)) {
    SEQUENCE(Real);
    DYNAMIC_SHARED(memory);
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= rows || !sequence.runs(0)) return;
    const Phase<Real> phase = sequence.phase(0);
    const Complex<Real>* in = psi + blockIdx.y * size;
    Complex<Real>* out = result + blockIdx.y * size + j;
    Complex<Real>* held = in_shared_memory ? (Complex<Real>*)memory + threadIdx.x : out;
    const long long stride = in_shared_memory ? blockDim.x : 2LL * rows;

    Complex<Real> v = {0, 0};
    for (int l = 0; l < colours; ++l) {
        const long long pair = 2LL * l * rows;
        const int p = partner[(long long)l * rows + j];
        const Real c = cosine[(long long)l * rows + j];
        const Real s = sqrt(fmax(Real(1) - c * c, Real(0)));
        const Complex<Real> a = in[pair + p], b = in[pair + rows + p];
        const Complex<Real> g = c * a + s * b;
        held[l * stride] = g;
        v = v + amplitude[l] * g;
        out[pair + rows] = phase.common * (s * a + (-c) * b);
    }
    v = phase.change * v;
    for (int l = 0; l < colours; ++l) out[2LL * l * rows] = phase.common * (held[l * stride] + amplitude[l] * v);
}
