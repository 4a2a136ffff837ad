from __future__ import annotations

from art_levelset.evaluation.record import WorstCase
from art_levelset.evaluation.verdict import doubts, next_step, verdict

from .invented import attack, estimate, masking, record

GUIDED = attack("guided", parameters={"name": "Guided", "eps": 0.3})
AUTOATTACK = attack("autoattack", parameters={"name": "AutoAttack", "eps": 0.3, "version": "standard"})


def test_a_sentence_with_the_interval() -> None:
    said = verdict(record(worst=0.9))
    assert said == (
        "Invented withstands 90.0% (95% interval 88.0%-91.7%; Linf 0.3, 1,000 images of mnist), at most: attacks can "
        "only lower it"
    )
    assert not verdict(record(attacks=(AUTOATTACK,), autoattack_acc="90.00")).endswith("lower it")


def test_an_estimate_comes_first() -> None:
    said = verdict(record(attacks=(GUIDED,), estimate=estimate()))
    one = estimate()
    low, high = one.worst_case_interval
    assert f"withstands {one.worst_case:.1%} with AutoAttack" in said
    assert f"{low:.1%}-{high:.1%}" in said


SURE = WorstCase(accuracy=0.9, interval=(0.89, 0.91))


def test_what_to_doubt() -> None:
    assert doubts(record(worst_case=SURE)) == ["no strong attack was run: PGD alone may be points too high"]
    assert doubts(record(attacks=(GUIDED,), worst_case=SURE)) == ["no checks for masked gradients were made"]
    assert doubts(record(attacks=(GUIDED,), worst_case=SURE, masking=masking())) == []
    unjudged = tuple(check.model_copy(update={"verdict": "not judged"}) for check in masking())
    assert doubts(record(attacks=(GUIDED,), worst_case=SURE, masking=unjudged)) == [
        "no check for masked gradients could be judged"
    ]
    masked = doubts(record(attacks=(GUIDED,), worst_case=SURE, masking=masking("iterations", "more iterations")))
    assert len(masked) == 1
    assert "masked (more iterations)" in masked[0]
    doubtful = doubts(
        record(attacks=(GUIDED,), worst_case=SURE, masking=masking(), unreliable=True, footnote="it is random")
    )
    assert doubtful == ["the network is doubtful: it is random"]
    few = record(
        attacks=(attack("guided", n_examples=1000, parameters={"name": "Guided"}),),
        masking=masking(),
        worst_case=WorstCase(accuracy=0.9, interval=(0.82, 0.95)),
    )
    assert doubts(few) == ["1,000 images leave +-6.5% for other images like these"]


def test_what_to_do_next() -> None:
    assert next_step(record()) == "--attacks pgd-ce pgd-margin guided"
    assert next_step(record(threat_model="L1")) == "--preset standard"
    assert next_step(record(attacks=(GUIDED,))) == "--preset standard"
    assert next_step(record(attacks=(GUIDED,), masking=masking("more iterations"))) == "--attacks guided autoattack"
    assert next_step(record(attacks=(AUTOATTACK,), autoattack_acc="90.00")) == "--masking"
    done = record(attacks=(GUIDED, AUTOATTACK), autoattack_acc="90.00")
    assert next_step(done) == "--masking"
    assert next_step(done.model_copy(update={"masking": masking("more iterations")})) is None
