"""Learning rate over the updates: a rise, a hold and a decay."""

from speechssl.config import ScheduleConfig


def learning_rate_scale(config: ScheduleConfig, update: int, max_updates: int) -> float:
    """Factor on the peak learning rate for one update.

    Neither end wastes an update: the first of the rise already moves the weights, and the fall reaches ``final_scale``
    only where the update after the last would be.

    Args:
        config: Shares of ``max_updates`` and the shape of the fall.
        update: Updates done before this one, so the first is 0. From ``max_updates`` on the factor stays at its end.
        max_updates: Length of the run.
    """
    warmup_updates = round(config.warmup * max_updates)
    peak_until = round((config.warmup + config.hold) * max_updates)
    if update < warmup_updates:
        return (update + 1) / warmup_updates
    if update < peak_until or config.decay == "none":
        return 1.0
    progress = min(1.0, (update - peak_until) / max(1, max_updates - peak_until))
    if config.decay == "exponential":
        return float(config.final_scale**progress)
    return 1.0 + (config.final_scale - 1.0) * progress


def schedule_problems(config: ScheduleConfig) -> list[str]:
    """What is inconsistent in a schedule."""
    problems = []
    if config.warmup + config.hold > 1 + 1e-9:
        problems.append(
            f"schedule.warmup ({config.warmup:g}) and schedule.hold ({config.hold:g}) add up to more than 1, "
            "the whole of training.max_updates"
        )
    if config.decay == "exponential" and config.final_scale == 0:
        problems.append(
            "schedule.final_scale is 0, which an exponential decay never reaches; "
            "set it above 0 (0.05 is usual) or choose --schedule.decay linear"
        )
    return problems
