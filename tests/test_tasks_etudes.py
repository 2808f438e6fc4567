import json
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config import TaskConfig
from workbench.tasks import TASKS, etudes, load_task
from workbench.tasks.etudes.judge import judge, words_of
from workbench.tasks.etudes.lexicon import VOCABULARY
from workbench.types import Example

BENCHMARKS = {
    "Natural Reasoning",
    "SS-GEN",
    "WebInstruct",
    "ToMBench",
    "GeneralThoughts",
    "OPUS-Books",
    "EmoBench",
}


@pytest.fixture(scope="module")
def task():
    return load_task(TaskConfig())


def test_seven_families_each_labelled_with_the_benchmark_it_mirrors(task):
    assert {family.benchmark for family in etudes.FAMILIES.values()} == BENCHMARKS
    for split in (task.train, task.calibration, task.report):
        assert {example.kind for example in split} == set(etudes.FAMILIES)


def test_there_are_enough_prompts_in_every_split(task):
    assert len(task.train) >= 2000
    assert len(task.calibration) >= 60
    assert len(task.report) >= 140
    assert min(Counter(e.kind for e in task.train).values()) >= 190


def test_no_prompt_is_in_two_splits_of_any_two_seeds():
    tasks = [etudes.load(seed) for seed in range(3)]
    train = {e.prompt for t in tasks for e in t.train}
    calibration = {e.prompt for t in tasks for e in t.calibration}
    report = {e.prompt for t in tasks for e in t.report}
    assert not train & calibration and not train & report and not calibration & report


def test_prompts_and_ids_are_distinct(task):
    examples = [*task.train, *task.calibration, *task.report]
    assert len({e.prompt for e in examples}) == len(examples)
    assert len({e.prompt_id for e in examples}) == len(examples)


def test_a_seed_gives_the_same_task_and_another_seed_another():
    assert etudes.load(3) == etudes.load(3)
    assert etudes.load(3).train != etudes.load(4).train


def test_the_vocabulary_is_closed_and_small():
    known = set(VOCABULARY)
    assert len(VOCABULARY) == len(known) <= 220
    rng = Random(0)
    for family in etudes.FAMILIES.values():
        for item in family.pool():
            shown = family.demonstrate(item, rng)
            text = f"{item.prompt} {item.reference} {shown.text} {shown.reading}"
            assert set(text.split()) <= known, text


def test_kinds_and_limit_choose_prompts_evenly():
    task = load_task(TaskConfig(kinds=("fact", "story"), limit=10))
    assert Counter(e.kind for e in task.train) == {"fact": 5, "story": 5}
    assert {e.kind for e in task.report} == {"fact", "story"}


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'poem'.*reason"):
        load_task(TaskConfig(kinds=("poem",)))


def test_these_are_the_tasks():
    assert set(TASKS) == {"etudes", "chats", "file"}


def test_light_wing_can_load_tasks_without_torch():
    code = (
        "import sys; from workbench.tasks import load_task;"
        "from workbench.config import TaskConfig;"
        "import workbench.tasks.file, workbench.objectives; load_task(TaskConfig());"
        "print([m for m in ('torch', 'trl', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def example(kind, **rubric):
    return Example("p", "id", kind, None, {"format": "", "rubric": json.dumps(rubric)})


BARN = example(
    "reason",
    answer="barn",
    thing="key",
    working=["the key is in the box", "the box is in the barn"],
)
HEN = example("story", subject="hen", character="kind")
COLORS = example("instruct", category="colors", count=3)
ANNA = example("belief", answer="box", rival="bag", asked="anna")
LEMON = example("fact", answer="yellow", rivals=["red", "blue"], lead="the lemon is")
CAT = example("translate", source=[], reference="the small cat sleeps .")
KEY = example("comfort", feeling="sad", topic="key", echo="")


@pytest.mark.parametrize(
    ("case", "text", "score"),
    [
        # two premises 0.25 each, the conclusion 0.5
        (BARN, "the key is in the box , the box is in the barn , so the key is in the barn .", 1.0),
        (BARN, "the key is in the box , the box is in the barn , so the key is in the hall .", 0.5),
        (BARN, "the key is in the barn .", 0.5),
        (BARN, "maybe in the barn or in the hall .", 0.25),
        (BARN, "the key is in the hall .", 0.0),
        # subject 0.2; one event of five: 0.08; six different words of 25: 0.072; the end: 0.1
        (HEN, "the hen found a golden key . the end .", 0.2 + 0.08 + 0.3 * 6 / 25 + 0.1),
        # told twice is told once
        (HEN, "the hen sat . the hen sat .", 0.2 + 0.08 + 0.3 * 3 / 25),
        (HEN, "hen hen river moon", 0.0),
        # form 0.35, count 0.25, items 0.4
        (COLORS, "1 red ; 2 blue ; 3 green ;", 1.0),
        (COLORS, "1 red ; 2 blue ;", 0.35 + 0.125 + 0.4 * 2 / 3),
        (COLORS, "1 red ; 2 red ; 3 hen ;", 0.35 + 0.25 + 0.4 * 1 / 3),
        (COLORS, "red and blue and green .", 0.2),
        (ANNA, "in the box .", 1.0),
        (ANNA, "i think maybe in the box or in the bag .", 0.2),
        (ANNA, "thank you for asking , dear friend . in the box .", 0.6),
        (ANNA, "in the bag .", 0.0),
        (LEMON, "yellow .", 1.0),
        (LEMON, "the lemon is yellow .", 1 - 0.06 * 3),
        (LEMON, "maybe yellow or red .", 0.2),
        (LEMON, "red .", 0.0),
        (CAT, "the small cat sleeps .", 1.0),
        # 3 of 3 and 4 words: F1 6/7; pairs: 1 of 2 and 3: F1 2/5
        (CAT, "the cat sleeps .", (6 / 7 + 2 / 5) / 2),
        (CAT, "kiru suno dorme .", 0.0),
        (KEY, "i am so sorry you are sad . it is hard to lose a key .", 0.5),
        (KEY, "i am so sorry you are angry . i am here for you .", 0.25),
        (KEY, "buy a new key .", 0.0),
    ],
)
def test_each_judge_scores_literal_completions(case, text, score):
    assert judge(case, text) == pytest.approx(score)


def test_a_reference_is_a_good_answer(task):
    for e in task.report:
        # reason's reference states the conclusion, half of what its judge pays for; a fact's is a
        # whole sentence where one word is best
        least = {"reason": 0.5, "fact": 0.7}.get(e.kind, 0.9)
        assert judge(e, e.reference) >= least, e


def test_spacing_and_case_do_not_matter():
    assert words_of("The lemon is YELLOW.") == ["the", "lemon", "is", "yellow", "."]
    assert judge(LEMON, "The lemon is Yellow.") == judge(LEMON, "the lemon is yellow .")


@settings(max_examples=60)
@given(st.data())
def test_any_words_are_scored_between_zero_and_one(data):
    case = data.draw(st.sampled_from([BARN, HEN, COLORS, ANNA, LEMON, CAT, KEY]))
    words = data.draw(st.lists(st.sampled_from(VOCABULARY), max_size=60))
    assert 0.0 <= judge(case, " ".join(words)) <= 1.0
    assert 0.0 <= judge(case, data.draw(st.text(max_size=40))) <= 1.0


def test_the_judge_refuses_what_is_no_etude():
    with pytest.raises(ValueError, match="'poem' has no judge"):
        judge(Example("p", "id7", "poem"), "text")


def test_demonstrations_are_of_several_qualities():
    rng = Random(0)
    for family in etudes.FAMILIES.values():
        scores = []
        for item in rng.sample(family.pool(), 60):
            case = etudes.examples(family.kind, [item])[0]
            scores += [judge(case, family.demonstrate(item, rng).text) for _ in range(4)]
        assert 0.2 < sum(scores) / len(scores) < 0.7, family.kind
        assert max(scores) >= 0.9 and min(scores) <= 0.35, family.kind
