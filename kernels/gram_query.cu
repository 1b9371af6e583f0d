// Two queries of the gram encoding on the whole register, in one pass over it: a right phase, then a left one. S = I.
//
//   right: psi_(i,j) <- exp(-i phi) [ psi_(i,j) + (exp(2 i phi) - 1) w_i v_j ],      v_j = sum_i w_i psi_(i,j)
//   left:  psi_(i,j) <- exp(-i phi) [ psi_(i,j) + (exp(2 i phi) - 1) r_(i,j) u_i ],  u_i = sum_j r_(i,j) psi_(i,j)
//   the flag row m:  psi_(m,j) <- exp(i phi) psi_(m,j) on the left
// with w_i = ||G_i||/alpha, w_m = sqrt(delta)/alpha and r_i the unit rows of G. The pass is given v, and leaves what the
// next v is the sum of: `partial`, one row for each tile, which gram_columns adds up.
//
// Index order: row i = 0..m, then column j.
// Thread mapping: a block takes rows tile, tile + tiles, ... and its threads the columns t, t + threads, ...: HELD columns
//   a thread stay in registers over all rows; further ones go through memory. gram_columns: 32 columns a block, the
//   tiles spread over blockDim.y and added in a fixed order.
// complex: 2 * real bytes
// Up to HELD * MOST_THREADS = 2048 columns, a pass moves (wider rows are written and read once more each):
// bytes: 2 * complex * (rows + 1) * columns + real * rows * columns + 3 * complex * tiles * columns
// flops: 32 * (rows + 1) * columns
// per amplitude (complex128, two queries): 40 bytes, 32 flops

constexpr int HELD = 4;
constexpr int MOST_THREADS = 512;

template <typename Real>
__device__ Complex<Real> sum_over_block(Complex<Real> v, Complex<Real>* of_warps) {
    v = sum_over_lanes<32>(v);
    __syncthreads();  // the sums of the row before have been read
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = v;
    __syncthreads();
    Complex<Real> total = {0, 0};
    for (int w = 0; w < (int)blockDim.x / 32; ++w) total = total + of_warps[w];
    return total;
}

template <typename Real>
__global__ void __launch_bounds__(MOST_THREADS)
    gram_rows(Complex<Real>* psi, const Complex<Real>* v, Complex<Real>* partial, int rows, int columns,
              const Real* weight, const Real* unit, SEQUENCE_PARAMETERS(Real)) {
    SEQUENCE(Real);
    DYNAMIC_SHARED(memory);
    Complex<Real>* of_warps = (Complex<Real>*)memory;
    const int query = sequence.query();
    const Phase<Real> right = sequence.phases[2 * query], left = sequence.phases[2 * query + 1];
    psi += (long long)blockIdx.y * (rows + 1) * columns;
    v += (long long)blockIdx.y * columns;
    partial += ((long long)blockIdx.y * gridDim.x + blockIdx.x) * columns;

    Complex<Real> sum[HELD];
#pragma unroll
    for (int h = 0; h < HELD; ++h) sum[h] = {0, 0};
    const int beyond = threadIdx.x + HELD * blockDim.x;
    for (int j = beyond; j < columns; j += blockDim.x) partial[j] = {0, 0};

    for (int i = blockIdx.x; i <= rows; i += gridDim.x) {
        const bool flag = i == rows;
        const Real w = weight[i];
        const Complex<Real> lift = w * right.change;
        Complex<Real>* row = psi + (long long)i * columns;
        const Real* r = unit + (long long)i * columns;
        Complex<Real> held[HELD];
        Real direction[HELD];
        Complex<Real> u = {0, 0};
#pragma unroll
        for (int h = 0; h < HELD; ++h) {
            const int j = threadIdx.x + h * blockDim.x;
            direction[h] = j < columns && !flag ? r[j] : Real(0);
            held[h] = j < columns ? right.common * (row[j] + lift * v[j]) : Complex<Real>{0, 0};
            u = u + direction[h] * held[h];
        }
        for (int j = beyond; j < columns; j += blockDim.x) {
            row[j] = right.common * (row[j] + lift * v[j]);
            if (!flag) u = u + r[j] * row[j];
        }
        u = left.change * sum_over_block(u, of_warps);
#pragma unroll
        for (int h = 0; h < HELD; ++h) {
            const int j = threadIdx.x + h * blockDim.x;
            if (j < columns) {
                held[h] = left.common * (held[h] + (flag ? left.change * held[h] : direction[h] * u));
                row[j] = held[h];
                sum[h] = sum[h] + w * held[h];
            }
        }
        for (int j = beyond; j < columns; j += blockDim.x) {
            row[j] = left.common * (row[j] + (flag ? left.change * row[j] : r[j] * u));
            partial[j] = partial[j] + w * row[j];
        }
    }
#pragma unroll
    for (int h = 0; h < HELD; ++h) {
        const int j = threadIdx.x + h * blockDim.x;
        if (j < columns) partial[j] = sum[h];
    }
}

template <typename Real>
__global__ void gram_columns(const Complex<Real>* partial, Complex<Real>* v, int tiles, int columns) {
    DYNAMIC_SHARED(memory);
    Complex<Real>* shares = (Complex<Real>*)memory;
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    partial += (long long)blockIdx.y * tiles * columns;
    Complex<Real> share = {0, 0};
    if (j < columns)
        for (int t = threadIdx.y; t < tiles; t += blockDim.y) share = share + partial[(long long)t * columns + j];
    shares[threadIdx.y * blockDim.x + threadIdx.x] = share;
    __syncthreads();
    if (threadIdx.y || j >= columns) return;
    for (int y = 1; y < (int)blockDim.y; ++y) share = share + shares[y * blockDim.x + threadIdx.x];
    v[(long long)blockIdx.y * columns + j] = share;
}
