#!/usr/bin/env bash
# Bring cuQuantum to compute nodes without a network: `collect` where there is one, `install` on the node.
set -euo pipefail

PYTHON=${PYTHON:-python3}
PRINT_VERSION='import sys; print("%d.%d" % sys.version_info[:2])'
OLDEST_GLIBC_MINOR=28 # wheels for glibc 2.28 and older run on every distribution that torch supports

usage() {
  cat <<'END'
usage: bundle_wheels.sh collect [options] OUT    download the wheels into OUT/part-01, OUT/part-02, ...
       bundle_wheels.sh install OUT TARGET       check them and unpack them into the new folder TARGET

OUT may travel in several transfers: its parts in any order, and the file OUT/manifest.
`install` needs neither a network nor pip; afterwards `source TARGET/env.sh` makes the packages importable.

options of collect:
  --cuda 12|13        CUDA of the node (13)
  --python 3.12       Python of the node (that of the Python used here)
  --part-size 60M     most bytes a part may have, in K, M or G of 1024; larger wheels are cut (60M)
  --with NAME         a further package with what it needs; cupy is the one for --cuda; may be repeated
  --without NAME      a package that the node has or can do without; may be repeated
Left out unless named by --with: numpy, torch and cupy, which a GPU node has, and those libraries of cuQuantum that
qnewton_gpu does not use (cudensitymat, cupauliprop, custabilizer). cuTensorNet loads cuBLAS and cuSOLVER, too: those of
torch or of the node's CUDA; where they are missing or of another CUDA, --with nvidia-cublas --with nvidia-cusolver.

The environment variable PYTHON names the Python that runs pip, and on the node the unpacking (python3).
END
}

die() {
  echo "bundle_wheels.sh: $*" >&2
  exit 2
}

# Move a file into the first part that has room for it; the number of the part is left in `placed`.
place() {
  local bytes number=0
  bytes=$(stat -c %s "$1")
  while ((number < ${#room[@]} && room[number] < bytes)); do ((number += 1)); done
  room[number]=$((${room[number]:-part_bytes} - bytes))
  printf -v placed 'part-%02d' $((number + 1))
  mkdir -p "$work/out/$placed"
  mv "$1" "$work/out/$placed/"
}

collect() {
  local cuda=13 python='' size=60M out='' extra=() without=()
  while (($#)); do
    case $1 in
    --cuda | --python | --part-size | --with | --without)
      [[ $# -ge 2 && $2 != --* ]] || die "$1 needs a value; see --help"
      ;;&
    --cuda) cuda=$2 ;;
    --python) python=$2 ;;
    --part-size) size=$2 ;;
    --with) extra+=("$2") ;;
    --without) without+=("$2") ;;
    -*) die "unknown option $1; see --help" ;;
    *) [[ -z $out ]] || die "one folder OUT is needed, not both $out and $1" ;;
    esac
    if [[ $1 == --* ]]; then shift; else out=$1; fi
    shift
  done
  [[ -n $out ]] || die 'collect needs the folder OUT; see --help'
  [[ $cuda == 12 || $cuda == 13 ]] || die "--cuda is 12 or 13, not $cuda"
  [[ $size =~ ^[1-9][0-9]*[KMG]$ ]] || die "--part-size is a size such as 60M, not $size"
  out=$(realpath -m "$out")
  python=${python:-$("$PYTHON" -c "$PRINT_VERSION")}
  [[ $python =~ ^3\.[0-9]+$ ]] || die "--python is a version such as 3.12, not $python"
  [[ ! -e $out ]] || die "$out exists: remove it or name a new folder"
  local part_bytes
  part_bytes=$(numfmt --from=iec "$size")

  # pip matches platform tags exactly, so every tag that the node can run is named
  local machine tag platforms=()
  machine=$(uname -m)
  for tag in linux manylinux1 manylinux2010 manylinux2014 $(seq -f 'manylinux_2_%g' 5 "$OLDEST_GLIBC_MINOR"); do
    platforms+=(--platform "${tag}_$machine")
  done
  local pip=("$PYTHON" -m pip --disable-pip-version-check --quiet)
  local node=(--only-binary=:all: --implementation cp --python-version "$python" "${platforms[@]}")

  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  local i
  for i in "${!extra[@]}"; do [[ ${extra[i]} != cupy ]] || extra[i]=cupy-cuda${cuda}x; done
  # pip resolves all, then only what the node lacks is downloaded
  "${pip[@]}" install --dry-run --ignore-installed --target "$work/none" --report "$work/report.json" \
    "${node[@]}" "cuquantum-python-cu$cuda" "${extra[@]}"
  local left_out=(numpy torch "cupy-cuda${cuda}x" "cudensitymat-cu$cuda" "cupauliprop-cu$cuda" "custabilizer-cu$cuda")
  "$PYTHON" - "$work/report.json" "${left_out[*]}" "${extra[*]}" "${without[*]}" >"$work/wanted" <<'END'
import json, re, sys

def names(words):
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", word)[0]).lower() for word in words.split()}

left_out, extra, without = map(names, sys.argv[2:])
for package in json.load(open(sys.argv[1]))["install"]:
    name, version = package["metadata"]["name"], package["metadata"]["version"]
    if not names(name) & (left_out - extra | without):
        print(f"{name}=={version}")
END
  "${pip[@]}" download --no-deps --dest "$work/wheels" "${node[@]}" --requirement "$work/wanted"

  mkdir "$work/out"
  echo "# CUDA $cuda, Python $python" >"$work/out/manifest"
  local room=() placed wheel sum parts piece
  while IFS= read -r wheel; do
    sum=$(sha256sum "$work/wheels/$wheel" | cut -d ' ' -f 1)
    parts=()
    if (($(stat -c %s "$work/wheels/$wheel") > part_bytes)); then
      split -b "$part_bytes" -a 4 --numeric-suffixes=1 "$work/wheels/$wheel" "$work/wheels/$wheel.piece-"
    fi
    for piece in "$work/wheels/$wheel".piece-*; do
      [[ -e $piece ]] || piece=$work/wheels/$wheel
      place "$piece"
      parts+=("$placed")
    done
    echo "$sum $wheel ${parts[*]}" >>"$work/out/manifest"
  done < <(find "$work/wheels" -name '*.whl' -printf '%s %f\n' | sort -rn | cut -d ' ' -f 2) # parts fill better so
  mv "$work/out" "$out"
  cat "$out/manifest"
  echo "$out: ${#room[@]} parts of at most $size, $(du -sh "$out" | cut -f 1) in all"
}

install() {
  [[ $# -eq 2 ]] || die 'install needs the folders OUT and TARGET; see --help'
  local out=$1 target
  target=$(realpath -m "$2")
  [[ -f $out/manifest ]] || die "$out/manifest is missing: copy it from where the parts were collected"
  [[ ! -e $target ]] || die "$target exists: remove it or name a new folder"

  local there
  there=$(sed -n '1s/^# CUDA .*, Python //p' "$out/manifest")
  [[ -n $there ]] || die "$out/manifest is not what was collected: copy it again"
  local sum wheel parts part missing=()
  while read -r part; do
    [[ -d $out/$part ]] || missing+=("$part")
  done < <(grep -o ' part-[0-9]*' "$out/manifest" | sort -uV)
  ((${#missing[@]} == 0)) || die "missing in $out: ${missing[*]}"

  local here
  here=$("$PYTHON" -c "$PRINT_VERSION")
  [[ $here == "$there" ]] || echo "bundle_wheels.sh: these wheels are for Python $there, and $PYTHON is $here" >&2

  mkdir -p "$(dirname "$target")"
  work=$(mktemp -d "$target.XXXXXX")
  mkdir "$work/site"
  local number files file
  # all wheels go into one folder: several of them share the package cuquantum, which Python looks for in one place
  while read -r sum wheel parts; do
    files=()
    number=0
    for part in $parts; do
      file=$out/$part/$wheel
      ((number += 1))
      [[ $parts != *' '* ]] || file+=$(printf '.piece-%04d' "$number")
      [[ -f $file ]] || die "$file is missing: copy $part again"
      files+=("$file")
    done
    cat "${files[@]}" >"$work/wheel"
    sha256sum --check --status <<<"$sum  $work/wheel" || die "$wheel is not what was collected: copy $parts again"
    "$PYTHON" -m zipfile -e "$work/wheel" "$work/site"
  done < <(tail -n +2 "$out/manifest")
  local data
  for data in "$work"/site/*.data/{purelib,platlib}; do
    [[ ! -d $data ]] || cp -a "$data/." "$work/site/"
  done

  # the libraries of NVIDIA's wheels find each other inside site-packages only; those in *.libs are found by their wheel
  local folder libraries=''
  while read -r folder; do
    libraries+=$target/$folder:
  done < <(find "$work/site" -name 'lib*.so*' -not -path '*.libs/*' -printf '%P\n' | sed 's|/[^/]*$||' | sort -u)
  cat >"$work/site/env.sh" <<END
export PYTHONPATH=$(printf %q "$target")\${PYTHONPATH:+:\$PYTHONPATH}
export LD_LIBRARY_PATH=$(printf %q "${libraries%:}")\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
END
  mv "$work/site" "$target"
  echo "source $(printf %q "$target/env.sh")"
}

work=''
trap '[[ -z $work ]] || rm -rf "$work"' EXIT
case ${1:-} in
collect) shift && collect "$@" ;;
install) shift && install "$@" ;;
-h | --help) usage ;;
'') die 'collect or install? See --help' ;;
*) die "unknown command $1: it is collect or install; see --help" ;;
esac
