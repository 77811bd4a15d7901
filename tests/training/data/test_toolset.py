"""Names of tools and arguments as other developers would have chosen them."""

from __future__ import annotations

import random
import re

from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.tasks.sampler import Sampler
from alpha_umi.training.data.tasks.toolset import vary_arguments, vary_tool_name


def make_sampler(seed: int = 0) -> Sampler:
    return Sampler(random.Random(seed), held_out=False)


def test_variants_are_many_and_can_be_tool_names() -> None:
    sampler = make_sampler()
    names = [vary_tool_name(sampler, "get_weather", ()) for _ in range(300)]
    assert len(set(names)) > 150
    for name in names:
        ToolSpec(name, "", {"type": "object", "properties": {}})
    assert sum("weather" in name.lower() for name in names) > 200
    assert any("." in name for name in names)
    assert any("-" in name for name in names)
    assert any(re.search("[a-z][A-Z]", name) for name in names)


def test_no_variant_is_a_name_that_is_taken_however_it_is_written() -> None:
    sampler = make_sampler()
    taken = {"fetch_weather", "get_weather", "weather_get"}
    names = {vary_tool_name(sampler, "get_weather", taken) for _ in range(500)}
    assert not {re.sub("[^a-z]", "", name.lower()) for name in names} & {"fetchweather", "getweather", "weatherget"}


def test_a_name_is_found_where_all_variants_are_taken() -> None:
    class Same(Sampler):
        def chance(self, probability: float) -> bool:
            return False

    name = vary_tool_name(Same(random.Random(0), held_out=False), "clock", {"clock", "Clock"})
    assert re.fullmatch(r"clock_\d{3}", name)


def test_arguments_keep_their_order_and_differ_from_each_other() -> None:
    for seed in range(200):
        names = vary_arguments(make_sampler(seed), ["date", "end_date", "item", "food", "unknown"])
        assert list(names) == ["date", "end_date", "item", "food", "unknown"]
        assert len(set(names.values())) == 5
        assert names["unknown"] == "unknown"
