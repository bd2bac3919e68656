"""CuPy as far as `Fuser` needs it, on NumPy: kernels as C++, with warps of one thread or of 32."""

import ctypes
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

_AROUND = """
#include <cmath>
using namespace std;
#define __global__
#define __device__
static struct { int x; } blockIdx, threadIdx;
%s
extern "C" void run(int blocks, int threads, void** a) {
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            %s(%s);
}
"""

# A warp is 32 threads of the host, which wait for each other where they exchange values.
_AROUND_WARPS = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using namespace std;
#define __global__
#define __device__
static thread_local struct { int x; } blockIdx, threadIdx;
static barrier<> together(32);
template <typename T> T __shfl_xor_sync(unsigned, T x, int o) {
    static T values[32];
    values[threadIdx.x %% 32] = x;
    together.arrive_and_wait();
    const T other = values[(threadIdx.x %% 32) ^ o];
    together.arrive_and_wait();
    return other;
}
%s
extern "C" void run(int blocks, int threads, void** a) {
    vector<thread> lanes;
    for (int lane = 0; lane < 32; lane++)
        lanes.emplace_back([=] {
            for (int block = 0; block < blocks; block++)
                for (int first = 0; first < threads; first += 32) {
                    blockIdx.x = block;
                    threadIdx.x = first + lane;
                    %s(%s);
                }
        });
    for (auto& one : lanes) one.join();
}
"""


class EmulatedCupy:
    """`kernels` were started, with `most_arrays` at most; `sources` were compiled."""

    ndarray = np.ndarray
    may_share_memory = staticmethod(np.may_share_memory)

    def __init__(self, folder, warp=1):
        self.warp = warp
        self.folder = Path(folder)
        self.kernels = self.most_arrays = 0
        self.sources = []

    def empty(self, shape, dtype):
        array = np.empty(shape, dtype)
        array.view(np.uint8 if array.ndim else dtype)[...] = 1  # not what was there by chance
        return array

    def RawKernel(self, source, name, options):  # noqa: N802
        assert options == ("--fmad=false",)
        self.sources.append(source)
        library = _compiled(source, name, self.folder, self.warp)

        def launch(grid, block, arrays):
            self.kernels += 1
            self.most_arrays = max(self.most_arrays, len(arrays))
            assert len(grid) == len(block) == 1
            pointers = (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))
            library.run(grid[0], block[0], pointers)

        return launch


@cache
def _compiled(source, name, folder, warp):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    declared = re.search(name + r"\((.*)\) \{", source).group(1).split(", ")
    types = [part.rpartition("*")[0] + "*" for part in declared]
    arguments = ", ".join(f"({kind})a[{i}]" for i, kind in enumerate(types))
    path = folder / f"kernel{abs(hash(source))}-{warp}"
    path.with_suffix(".cpp").write_text(
        (_AROUND if warp == 1 else _AROUND_WARPS) % (source, name, arguments)
    )
    # Nothing is contracted, as on the GPU.
    flags = ["-O0", "-ffp-contract=off", "-shared", "-fPIC", "-w"]
    # Later standards have special functions in <cmath>, which take as long as all else together.
    flags += ["-std=gnu++14"] if warp == 1 else ["-std=c++20", "-pthread"]
    subprocess.run(
        [compiler, *flags, "-o", path.with_suffix(".so"), path.with_suffix(".cpp")], check=True
    )
    return ctypes.CDLL(str(path.with_suffix(".so")))
