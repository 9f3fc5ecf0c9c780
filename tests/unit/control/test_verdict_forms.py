import msgspec
import pytest

from hanse.control.judge import heard, judge, judging
from hanse.control.rollout import Ruling
from hanse.control.verdict import Verdict
from hanse.control.verdict_forms import Hook, argo_metric, verdict_for_argo, verdict_for_flagger
from hanse.control.window import Both, Outcomes, Window

RULINGS: tuple[Ruling, ...] = ("go_on", "wait", "hold", "roll_back")


def said(ruling: Ruling) -> Verdict:
    return Verdict(decision=ruling, reason="so it is", at=1.0, step_seconds=1.0, step_requests=1)


@pytest.mark.parametrize("ruling", RULINGS)
def test_argo_finds_the_verdict_where_its_metric_looks_for_it(ruling: Ruling) -> None:
    told: dict[str, object] = msgspec.json.decode(verdict_for_argo(said(ruling)))
    result = told["verdict"]
    metric = argo_metric("http://hanse/verdict")
    meets = {name: metric[name] == f'result == "{result}"' for name in ("successCondition", "failureCondition")}
    assert meets == {"successCondition": ruling == "go_on", "failureCondition": ruling == "roll_back"}


def test_argo_is_told_the_evidence_too() -> None:
    window = Window(1.0, {"/": Both(new={"b1": Outcomes(10, 5)}, old={"a1": Outcomes(190)})})
    told = msgspec.json.decode(verdict_for_argo(judge(heard(judging(), window))))
    assert told["metrics"][0]["new_events"] == 5


def test_argo_pauses_when_the_judge_would_hold() -> None:
    metric = argo_metric("http://hanse/verdict", interval_seconds=10, deadline_seconds=95.0)
    assert (metric["inconclusiveLimit"], metric["interval"]) == (10, "10s")


@pytest.mark.parametrize(
    ("hook", "yes"),
    [
        ("rollout", {"go_on", "wait", "hold"}),
        ("confirm-traffic-increase", {"go_on"}),
        ("confirm-promotion", {"go_on"}),
        ("rollback", {"roll_back"}),
    ],
)
def test_flagger_goes_by_the_status_and_each_hook_asks_something_else(hook: Hook, yes: set[str]) -> None:
    answers = {ruling: verdict_for_flagger(said(ruling), hook) for ruling in RULINGS}
    assert {ruling for ruling, answer in answers.items() if answer.status <= 202} == yes
    assert answers["roll_back"].body == "roll back: so it is"
