"""What all tests share: hypothesis draws the same examples each time, and takes its time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "kit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kit")
