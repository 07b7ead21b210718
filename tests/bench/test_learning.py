import argparse

import pytest

pytest.importorskip("matplotlib")

from bench import learning
from bench.learning import BEGIN, END, Budget, Learned


def run(recipe: str, seed: int, *rates: float, after: float = 0.5, budget: int = 40) -> Learned:
    return Learned(
        recipe=recipe,
        seed=seed,
        budget=budget,
        after=after,
        updates=4 * len(rates),
        seconds=2.0,
        sampled=[10 * (step + 1) for step in range(len(rates))],
        pass_rate=list(rates),
    )


def options(**changes) -> argparse.Namespace:
    return argparse.Namespace(**{"recipes": ["grpo", "dapo"], "seeds": [0, 1]} | changes)


def test_a_budget_is_of_what_is_sampled_and_ends_with_the_step_that_reaches_it():
    log = Budget(rollouts=100)
    log.log(1, {"perf/samples": 60.0})
    assert not log.stop.is_set()
    log.log(2, {"perf/samples": 50.0})
    assert log.stop.is_set()
    assert [step["sampled"] for step in log.steps] == [60.0, 110.0]


def test_the_pass_rate_between_steps_is_on_a_line_and_flat_beyond_them():
    learned = run("grpo", 0, 0.2, 0.4)
    assert list(learned.over([5, 10, 15, 20, 40])) == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.4])


def test_the_table_has_mean_and_spread_over_seeds_and_the_best_first():
    groups = {
        "grpo": [run("grpo", 0, 0.5, after=0.6), run("grpo", 1, 0.7, after=0.8)],
        "dapo": [run("dapo", 0, 0.9, after=0.95), run("dapo", 1, 0.9, after=0.95)],
    }
    text = learning.table(groups, 0.354)
    assert "2 seeds" in text and "40 sampled rollouts" in text and "35.4" in text
    assert text.splitlines()[-2:] == [
        "| [dapo](dapo.yaml) | 95.0 ± 0.0 | 90.0 ± 0.0 | 90.0 ± 0.0 | 4 | 2 |",
        "| [grpo](grpo.yaml) | 70.0 ± 14.1 | 60.0 ± 14.1 | 60.0 ± 14.1 | 4 | 2 |",
    ]


def test_runs_of_another_budget_seed_or_recipe_are_not_mixed_in():
    runs = [
        run("grpo", 0, 0.5),
        run("grpo", 1, 0.5),
        run("grpo", 2, 0.5),
        run("grpo", 0, 0.5, budget=20),
        run("ppo", 0, 0.5),
    ]
    groups = learning.by_recipe({"runs": [vars(one) for one in runs]}, options())
    assert {name: [r.seed for r in group] for name, group in groups.items()} == {"grpo": [0, 1]}
    assert all(one.budget == 40 for one in groups["grpo"])


def test_what_is_written_reads_back_and_has_a_line_for_each_run(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "cpu_model", lambda: "some cpu")
    runs = [vars(run("grpo", 0, 0.5)), vars(run("grpo", 1, 0.25))]
    path = tmp_path / "results" / "learning.json"
    learning.write(path, runs, 0.25)
    assert learning.read(path)["runs"] == runs
    assert learning.read(path)["before"] == 0.25
    assert sum('"recipe"' in line for line in path.read_text().splitlines()) == 2
    assert learning.read(tmp_path / "nothing.json") == {}


def test_the_plot_has_a_panel_for_each_recipe_and_is_the_same_each_time(tmp_path):
    groups = {name: [run(name, 0, 0.2, 0.6), run(name, 1, 0.3, 0.8)] for name in ("grpo", "ppo")}
    learning.draw(groups, tmp_path / "one.svg")
    learning.draw(groups, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert ">grpo<" in text and ">ppo<" in text
    assert text == (tmp_path / "two.svg").read_text()


def test_table_and_plot_replace_what_stood_between_the_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    learning.include("new", page)
    learning.include("newer", page)
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\n")
    with pytest.raises(ValueError, match="it lacks the lines"):
        learning.include("new", page)
    assert page.read_text() == f"before\n{BEGIN}\n"


def test_the_recipes_page_has_the_markers():
    page = learning.README.read_text()
    assert page.count(BEGIN) == page.count(END) == 1
    assert page.index(BEGIN) < page.index(END)
