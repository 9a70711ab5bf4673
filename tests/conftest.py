"""What all tests share."""

from hypothesis import HealthCheck, settings

# The machine may be busy, and the first example compiles: no test is judged by its time.
settings.register_profile("clusterbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clusterbench")
