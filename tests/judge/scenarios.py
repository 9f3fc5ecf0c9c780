"""The releases that judges are tried on."""

from __future__ import annotations

from .traffic import Scenario

GOOD = (
    Scenario("no worse; 0.2 % fail", good=True),
    Scenario("no worse; 1.2 % fail, as ever", good=True, base=0.012, new=0.012),
    Scenario("no worse; what both need fails for 8 min", good=True, outage=(100, 580, 0.03)),
    Scenario("no worse; 1 request a second", good=True, rps=1.0),
    Scenario("no worse; failures come in bursts", good=True, base=0.01, new=0.01, bursts=2.0),
    Scenario("no worse; everything fails for 4 of 2,000 users", good=True, broken=4),
    Scenario("the same, each request counted", good=True, broken=4, stories=False),
    Scenario("no worse; how long it takes is looked at", good=True, slower=1.0),
    Scenario("no worse; instances differ by 20 %", good=True, slower=1.0, uneven=0.2, instances=2),
    Scenario("no worse; instances differ by 40 %", good=True, slower=1.0, uneven=0.4, instances=2),
)
BAD = (
    Scenario("half fails", good=False, new=0.5),
    Scenario("half fails; 200 requests a second", good=False, new=0.5, rps=200.0, tick=0.5),
    Scenario("all fail", good=False, new=1.0),
    Scenario("20 % fail", good=False, new=0.2),
    Scenario("2 % fail", good=False, new=0.02),
    Scenario("0.8 % fail", good=False, new=0.008),
    Scenario("20 % fail; 1 request a second", good=False, new=0.2, rps=1.0),
    Scenario("20 % fail, after 5 min", good=False, new=0.2, turns=300),
    Scenario("one route of 50 fails; 200 requests a second", good=False, new=1.0, rps=200.0, routes=50),
    Scenario("takes 1.5 times as long", good=False, slower=1.5),
    Scenario("takes twice as long", good=False, slower=2.0),
    Scenario("takes twice as long; instances differ by 20 %", good=False, slower=2.0, uneven=0.2, instances=2),
)
SCENARIOS = (*GOOD, *BAD)
