import dataclasses

from jaxinterp.stats import Result

probe = ji.probes.fit(x, y, support=[3, 14])
