#!/usr/bin/env bash
# Makes the virtual environment $1 from the pins in $2: torch and vLLM built for CPUs, no CUDA.
set -euo pipefail
venv=$1 lock=$2 python=${PYTHON:-python3}
torch=$(grep -E '^torch==' "$lock")

"$python" - <<'PY' || { echo "rlvr needs Python 3.11 or newer: PYTHON=/path/to/python3.11 make ..." >&2; exit 1; }
import sys
raise SystemExit(sys.version_info < (3, 11))
PY

echo "Installing into $venv: about 4 GB and 2 to 5 minutes, once."
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install -qq --no-deps)

# PyPI's own torch for Linux brings CUDA along, several GB that a CPU run never loads.
if ! "${pip[@]}" "$torch" 2>/dev/null; then
  "${pip[@]}" "$torch" --index-url "${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}"
fi
# The lock is complete, so nothing is resolved. It leaves out torchvision, torchaudio and
# torchcodec, which vLLM asks for: text needs none, and builds that do not match this torch break
# the import of transformers.
"${pip[@]}" --requirement <(grep -vE '^torch==' "$lock")
"${pip[@]}" --no-build-isolation --editable .
"$venv/bin/python" -c 'import torch, vllm.version, ray, deepspeed.git_version_info, transformers' \
  || { echo "The environment in $venv does not import; remove it and try again." >&2; exit 1; }
