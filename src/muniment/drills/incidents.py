"""Incidents hidden among ordinary work. Each is a labelled script of actions relative to its start. Pure.

The label (`Incident.story`, `entities`) is what a drill later scores against; nothing in the events gives it away.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from muniment.drills.activity import SECOND_NS, Action
from muniment.drills.company import SYSTEMS, Company, Person

__all__ = ["INCIDENTS", "Incident"]

_BY_ID: Final = {system.id: system for system in SYSTEMS}
ATTACKER_IP: Final = "203.0.113.207"
ABROAD_IP: Final = "203.0.113.144"


@dataclass(frozen=True, slots=True)
class Incident:
    """One script: `minutes` long; `make` gives its actions from `start_ns`."""

    name: str
    story: str
    minutes: int
    make: Callable[[Company, random.Random, int], Iterator[Action]]


def _pick(company: Company, team: str, rng: random.Random) -> Person:
    return rng.choice(company.by_team[team])


def _brute_force(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    victim = _pick(company, "operations", rng)
    names = ["root", "admin", "postgres", "ubuntu", "deploy", "git", "oracle", "test"] + [
        p.login for p in company.people[:23]
    ]
    bastion = _BY_ID["bastion"]
    at = start
    for _ in range(214):
        at += rng.randrange(SECOND_NS, 3 * SECOND_NS)
        yield Action(
            bastion,
            at,
            "ssh",
            None,
            "host",
            "bastion-1",
            "bastion-1",
            "failure",
            ATTACKER_IP,
            {"user": rng.choice(names)},
        )
    yield Action(
        bastion,
        at + 2 * SECOND_NS,
        "ssh",
        victim,
        "host",
        "bastion-1",
        "bastion-1",
        "success",
        ATTACKER_IP,
        {"method": "password"},
    )


def _takeover(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    victim = _pick(company, "finance", rng)
    okta, mail, crm = _BY_ID["okta"], _BY_ID["mail-gateway"], _BY_ID["billing"]
    where = {"country": "BR", "city": "Recife"}
    at = start
    for _ in range(11):
        at += rng.randrange(15 * SECOND_NS, 40 * SECOND_NS)
        yield Action(
            okta,
            at,
            "user.mfa.challenge",
            victim,
            "app",
            "okta",
            "Okta",
            "failure",
            ABROAD_IP,
            where | {"reason": "USER_REJECTED"},
        )
    yield Action(
        okta, at + 20 * SECOND_NS, "user.session.start", victim, "app", "okta", "Okta", "success", ABROAD_IP, where
    )
    yield Action(
        okta,
        at + 60 * SECOND_NS,
        "device.enrollment.create",
        victim,
        "device",
        "unknown-phone",
        "New phone",
        "success",
        ABROAD_IP,
        where,
    )
    yield Action(mail, at + 150 * SECOND_NS, "rule.create", victim, "mailbox", victim.email, victim.name, "success", ABROAD_IP,
                 {"metadata": {"rule": "move 'invoice' to RSS Feeds"}})  # fmt: skip
    yield Action(
        crm,
        at + 400 * SECOND_NS,
        "invoice.export",
        victim,
        "list",
        "invoices-all",
        "All invoices",
        "success",
        ABROAD_IP,
    )


def _mass_export(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    leaver = _pick(company, "sales", rng)
    at = start
    for page in range(48):
        at += rng.randrange(4 * SECOND_NS, 9 * SECOND_NS)
        yield Action(_BY_ID["crm"], at, "customer.export", leaver, "list", f"customers-page-{page}", f"Customers page {page}", "success",
                     leaver.home_ip, {"metadata": {"rows": 1_000, "format": "csv"}})  # fmt: skip


def _trail_switched_off(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    admin = _pick(company, "engineering", rng)
    trail = _BY_ID["aws-cloudtrail"]
    steps = [("ConsoleLogin", "signin", {}), ("CreateAccessKey", "iam", {"parameters": {"userName": "svc-export"}}),
             ("StopLogging", "cloudtrail", {"parameters": {"name": "org-trail"}}),
             ("PutBucketPolicy", "s3", {"parameters": {"bucketName": "customer-exports"}}),
             ("StartLogging", "cloudtrail", {"parameters": {"name": "org-trail"}})]  # fmt: skip
    for number, (verb, service, detail) in enumerate(steps):
        yield Action(trail, start + number * 95 * SECOND_NS, verb, admin, service, f"{service}-1", "", "success", ABROAD_IP,
                     {"service": service, **detail})  # fmt: skip


def _self_grant(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    person = _pick(company, "support", rng)
    yield Action(_BY_ID["shop-admin"], start, "permission.grant", person, "role", "administrator", "Administrator", "success", person.ip,
                 {"before": {"roles": ["agent"]}, "after": {"roles": ["agent", "administrator"]}, "metadata": {"grantee": person.login}})  # fmt: skip
    for number in range(30):
        at = start + (number + 1) * 7 * SECOND_NS
        yield Action(
            _BY_ID["shop-admin"],
            at,
            "item.delete",
            person,
            "item",
            f"item-{9000 + number}",
            f"Item {9000 + number}",
            "success",
            person.ip,
        )


def _salary_account(company: Company, rng: random.Random, start: int) -> Iterator[Action]:
    clerk, employee = _pick(company, "people", rng), _pick(company, "engineering", rng)
    yield Action(_BY_ID["payroll"], start, "bank_account.update", clerk, "employee", employee.email, employee.name, "success", clerk.home_ip,
                 {"before": {"iban": "CH56 **** 5678"}, "after": {"iban": "LT12 **** 0987"}, "reason": "request by mail"})  # fmt: skip
    yield Action(_BY_ID["payroll"], start + 340 * SECOND_NS, "payrun.approve", clerk, "payrun", "payrun-11", "Payrun November", "success",
                 clerk.home_ip)  # fmt: skip


INCIDENTS: Final = (
    Incident("brute-force", "214 failed logins on the bastion from one address, then one success", 8, _brute_force),
    Incident(
        "phished-account", "MFA fatigue, a session from abroad, a new device, an inbox rule, an export", 15, _takeover
    ),
    Incident("insider-export", "a leaver exports the customer list page by page from home", 7, _mass_export),
    Incident("trail-switched-off", "an access key is made and the trail stops for a while", 9, _trail_switched_off),
    Incident("privilege-creep", "a support agent grants themselves a role, then deletes items", 5, _self_grant),
    Incident(
        "salary-account",
        "a bank account changes by mail request and the same person approves the run",
        7,
        _salary_account,
    ),
)
