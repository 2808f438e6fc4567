"""A run's child under FSDP 2 on CPUs: torch can, Accelerate asks for an accelerator first."""

import sys
from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from workbench.train.child import main

begin = PartialState.__init__


def begin_sharded(self: PartialState, *args: Any, **kwargs: Any) -> None:
    begin(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


PartialState.__init__ = begin_sharded
sys.exit(main())
