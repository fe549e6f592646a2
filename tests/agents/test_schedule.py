"""When updates are due."""

from gsa.schedule import Progress, Schedule


def test_the_earlier_of_frames_and_episodes_starts_the_updates() -> None:
    """An agent that ends its episodes early starts no later than one that fills them."""
    schedule = Schedule(1.0, start_frames=100, start_episodes=3)
    assert schedule.due(Progress(frames=99, env_steps=50, episodes=2)) == 0
    assert schedule.due(Progress(frames=99, env_steps=50, episodes=3)) == 50
    assert schedule.due(Progress(frames=100, env_steps=50, episodes=2)) == 50


def test_a_product_just_under_a_whole_number_counts_as_it() -> None:
    """0.29 x 100 is 28.999999999999996 in floating point."""
    assert Schedule(0.29).due(Progress(env_steps=100)) == 29
