#!/bin/sh
# Builds mediasoup's worker, and installs what drives it, in a folder of its own: from npm, crates.io, PyPI and
# Debian's packages alone, since its own build takes its libraries from elsewhere. The worker's sources are as published.
# Each step is left out when what it makes is there. What the steps print is in FOLDER/build.log.
#
# Usage: build.sh FOLDER
set -eu

MEDIASOUP=3.27.1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?Usage: build.sh FOLDER}"
cd "$1"
folder=$(pwd)
prefix=$folder/prefix
jobs=$(nproc)
exec 3>&2 >> build.log 2>&1
trap '[ $? = 0 ] || echo "Building mediasoup failed; $folder/build.log tells why." >&3' EXIT

# Libraries in C and C++, as crates carry them.
if [ ! -d vendor ]; then
    mkdir -p crates/src
    : > crates/src/lib.rs
    cat > crates/Cargo.toml <<'TOML'
[package]
name = "sources"
edition = "2024"

[dependencies]
flatc = "=0.2.2"
libuv-sys2 = "=1.53.1"
openssl-src = "=300.6.1"
srtp2-sys = "=3.0.2"

[workspace]
TOML
    cargo vendor --manifest-path crates/Cargo.toml crates/vendor
    mv crates/vendor vendor
fi

[ -f "$prefix/lib/libssl.a" ] || (
    rm -rf openssl
    cp -r vendor/openssl-src/openssl openssl
    cd openssl
    perl Configure no-shared no-tests no-apps no-docs no-legacy no-engine no-module --prefix="$prefix" --libdir=lib
    make "--jobs=$jobs" build_libs
    make install_dev
)

# $1 is where the sources are, $2 a file that comes of them; what follows goes to CMake.
with_cmake() {
    [ -f "$prefix/$2" ] && return
    sources=$1 && shift 2
    rm -rf cmake
    cmake -S "$sources" -B cmake -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_PREFIX_PATH="$prefix" -DOPENSSL_ROOT_DIR="$prefix" -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF "$@"
    cmake --build cmake --parallel "$jobs"
    cmake --install cmake
}
with_cmake vendor/libuv-sys2/libuv lib/libuv.a -DLIBUV_BUILD_SHARED=OFF
with_cmake vendor/srtp2-sys/libsrtp lib/libsrtp2.a -DENABLE_OPENSSL=ON -DTEST_APPS=OFF
with_cmake vendor/flatc/flatbuffers bin/flatc -DFLATBUFFERS_BUILD_TESTS=OFF

[ -x venv/bin/ninja ] || {
    python3 -m venv --clear venv
    venv/bin/pip install --disable-pip-version-check meson==1.12.1 ninja==1.13.0
}

# The package with what drives the worker, without the worker, which it would download.
export MEDIASOUP_WORKER_BIN="$folder/mediasoup-worker"
[ -d node_modules/mediasoup ] || npm install --no-save --no-audit --no-fund --prefix . "mediasoup@$MEDIASOUP"

export PATH="$folder/venv/bin:$prefix/bin:$PATH" PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
export CPATH="$prefix/include" LIBRARY_PATH="$prefix/lib"
[ -f worker/build/build.ninja ] || {
    rm -rf worker
    cp -r node_modules/mediasoup/worker worker
    # Instead of what would be downloaded.
    rm -r worker/subprojects
    cp -r "$here/subprojects" worker/subprojects
    # As its own build sets it up.
    meson setup worker/build worker --buildtype release -Db_ndebug=true --wrap-mode nodownload
}
ninja -C worker/build -j "$jobs" mediasoup-worker
cp worker/build/mediasoup-worker "$MEDIASOUP_WORKER_BIN"
