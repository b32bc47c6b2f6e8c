"""``python -m gswarm.client.gpu_list``: the GPUs that CUDA shows to this process, as JSON. A process of its own, so that a driver which
hangs keeps no client from starting."""

from __future__ import annotations

import json
import sys


def main() -> int:
    from nvitop import CudaDevice

    found = []
    for device in CudaDevice.all():
        index = device.nvml_index
        name = f"gpu:{index}" if isinstance(index, int) else f"gpu:{index[0]}/mig:{index[1]}"
        found.append([str(device.name()), int(device.memory_total()), name])
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
