"""What happens, minute by minute: ordinary work in business hours, and what machines do all the time. Pure.

`Activity.between(start, end)` gives the actions of a span in order of time; the same seed and span give the same
actions. Shapes and doors are `drills/shapes.py`'s business.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.drills.company import SYSTEMS, Company, Person, System

__all__ = ["SECOND_NS", "Action", "Activity", "presence"]

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
DAY_NS: Final = 86_400 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Action:
    """Somebody (or a machine, then `person` is None) does `verb` on a target in a system."""

    system: System
    at_ns: int
    verb: str
    person: Person | None = None
    target_type: str = ""
    target_id: str = ""
    target_name: str = ""
    outcome: str = "success"
    ip: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


_WORK: Final[dict[str, tuple[tuple[str, str, int], ...]]] = {
    "crm": (("customer.read", "customer", 60), ("customer.update", "customer", 18), ("customer.search", "query", 15),
            ("note.create", "customer", 9), ("customer.export", "list", 1)),
    "helpdesk": (("ticket.read", "ticket", 50), ("ticket.reply", "ticket", 25), ("ticket.close", "ticket", 12),
                 ("customer.read", "customer", 20), ("user.impersonate", "customer", 1)),
    "billing": (("invoice.read", "invoice", 50), ("invoice.create", "invoice", 20), ("refund.create", "payment", 4),
                ("price.update", "plan", 1)),
    "payroll": (("payslip.read", "employee", 30), ("bank_account.update", "employee", 1), ("payrun.approve", "payrun", 1)),
    "people-portal": (("profile.read", "employee", 40), ("leave.request", "leave", 10), ("leave.approve", "leave", 6),
                      ("contract.read", "employee", 3)),
    "files": (("file.read", "file", 70), ("file.upload", "file", 20), ("file.share", "file", 6), ("file.delete", "file", 4)),
    "wiki": (("page.read", "page", 80), ("page.update", "page", 15), ("page.delete", "page", 1)),
    "secrets-store": (("secret.read", "secret", 40), ("secret.rotate", "secret", 3), ("policy.update", "policy", 1)),
    "deployer": (("deployment.create", "service", 20), ("deployment.rollback", "service", 1), ("config.update", "service", 4)),
    "vpn": (("session.login", "gateway", 30), ("session.logout", "gateway", 28)),
    "door-badges": (("door.open", "door", 40), ("door.denied", "door", 1)),
    "mail-gateway": (("mail.receive", "mailbox", 60), ("mail.quarantine", "mailbox", 4), ("rule.create", "mailbox", 1)),
    "backup": (("backup.create", "volume", 10), ("backup.verify", "volume", 5)),
}  # fmt: skip
_OTHER_WORK: Final = (("item.read", "item", 60), ("item.update", "item", 20), ("item.create", "item", 12),
                      ("item.delete", "item", 3), ("report.run", "report", 6), ("permission.grant", "role", 1))  # fmt: skip
_OKTA: Final = (("user.session.start", 50), ("user.authentication.sso", 90), ("user.mfa.challenge", 30),
                ("user.account.update_password", 2), ("group.user_membership.add", 2), ("app.oauth2.consent.grant", 1))  # fmt: skip
_GITHUB: Final = (("git.push", 60), ("pull_request.merge", 20), ("repo.create", 1), ("protected_branch.update_admin_enforced", 1),
                  ("org.add_member", 1), ("repo.access", 10), ("workflows.completed_workflow_run", 30))  # fmt: skip
_AWS: Final = (("GetObject", "s3", 60), ("AssumeRole", "sts", 40), ("DescribeInstances", "ec2", 40), ("PutObject", "s3", 20),
               ("CreateAccessKey", "iam", 1), ("AuthorizeSecurityGroupIngress", "ec2", 1), ("ConsoleLogin", "signin", 4))  # fmt: skip
_ABOUT_PEOPLE: Final = {"org.add_member", "group.user_membership.add"}
"""What one does to somebody else."""
_SEGREGATED: Final = {"bank_account.update": "changes", "payrun.approve": "approves"}
"""What one person must not do both of; only an incident does."""
_SERVICES: Final = (("order.create", 30), ("payment.authorize", 30), ("payment.void", 2), ("stock.reserve", 25),
                    ("session.refresh", 40), ("cache.evict", 5), ("record.read", 50))  # fmt: skip


def presence(person: Person, at_ns: int) -> float:
    """How likely somebody works at a moment, 0.01 to 1, by the office's clock and the day of the week."""
    local = at_ns + person.office.utc_offset_h * 3_600 * SECOND_NS
    weekday = (local // DAY_NS + 3) % 7
    hour = local % DAY_NS / (3_600 * SECOND_NS)
    at_work = 1.0 if 8.5 <= hour < 17.5 else 0.4 if 7.5 <= hour < 19 else 0.03
    if 12 <= hour < 13:
        at_work = 0.55
    return at_work * (0.06 if weekday >= 5 else 1.0)


class Activity:
    """The stream of ordinary actions of a company, about `per_second` at full presence."""

    def __init__(self, company: Company, *, seed: int = 1, per_second: float = 20.0) -> None:
        self._company = company
        self._seed = seed
        self._per_second = per_second
        self._staff = {system.id: company.staff_of(system) for system in SYSTEMS}
        self._weights = [system.weight for system in SYSTEMS]

    def between(self, start_ns: int, end_ns: int) -> Iterator[Action]:
        """Actions with start <= at < end, in order. Seconds are independent, so any span can be made alone."""
        for second in range(start_ns // SECOND_NS, -(-end_ns // SECOND_NS)):
            rng = random.Random(self._seed << 40 ^ second)
            times = sorted(
                second * SECOND_NS + rng.randrange(SECOND_NS) for _ in range(_poisson(rng, self._per_second))
            )
            for at_ns in times:
                action = self.one(rng, at_ns)
                if action and start_ns <= at_ns < end_ns:
                    yield action

    def one(self, rng: random.Random, at_ns: int) -> Action | None:
        """One action at a moment, None when the one who would do it is not at work."""
        system = rng.choices(SYSTEMS, self._weights)[0]
        staff = self._staff[system.id]
        person = rng.choice(staff) if staff else None
        if person and rng.random() > presence(person, at_ns):
            return None
        return _describe(rng, self._company, system, person, at_ns)


def _describe(rng: random.Random, company: Company, system: System, person: Person | None, at_ns: int) -> Action:
    ip = (person.ip if rng.random() < 0.75 else person.home_ip) if person else _customer_ip(rng)
    outcome = "failure" if rng.random() < 0.03 else "success"
    if system.shape in {"okta", "github", "otlp"}:
        table = {"okta": _OKTA, "github": _GITHUB, "otlp": _SERVICES}[system.shape]
        verb = rng.choices(table, [row[1] for row in table])[0][0]
        target = rng.choice({"okta": _APPS, "github": _REPOS, "otlp": company.customers}[system.shape])
        detail: dict[str, Any] = {}
        if verb in _ABOUT_PEOPLE:
            detail = {"whom": rng.choice([each for each in company.people if each is not person])}
        return Action(system, at_ns, verb, person, "object", target, target, outcome, ip, detail)
    if system.shape == "cloudtrail":
        verb, service, _ = rng.choices(_AWS, [row[2] for row in _AWS])[0]
        return Action(
            system,
            at_ns,
            verb,
            person,
            service,
            f"{service}-{rng.randint(1, 60)}",
            "",
            outcome,
            ip,
            {"service": service},
        )
    if system.shape in {"ssh", "sudo", "nginx", "firewall"}:
        return Action(system, at_ns, system.shape, person, "host", system.host, system.host, outcome, ip)
    verb, kind, _ = rng.choices(work := _WORK.get(system.id, _OTHER_WORK), [row[2] for row in work])[0]
    if person and verb in _SEGREGATED and (_SEGREGATED[verb] == "approves") != _approves(person):
        verb, kind = work[0][:2]
    target_id, target_name = _target(rng, company, kind)
    if verb == "door.denied":
        outcome = "failure"
    return Action(system, at_ns, verb, person, kind, target_id, target_name, outcome, ip, _changes(rng, verb))


def _customer_ip(rng: random.Random) -> str:
    """Customers are of many networks; this range belongs to nobody (RFC 2544)."""
    number = rng.randrange(1 << 17)
    return f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _approves(person: Person) -> bool:
    """Half of a team approves what the other half prepares."""
    return sum(person.login.encode()) % 2 == 0


_REPOS: Final = tuple(
    f"larkfield/{name}"
    for name in ["shop", "payments", "stock", "infra", "web", "docs", "mobile", "billing", "data", "ml"]
)
_APPS: Final = ("Mail", "CRM", "Helpdesk", "Payroll", "People portal", "Wiki", "Files", "VPN", "Code", "Cloud console")
_DOORS: Final = ("Zurich main", "Zurich server room", "Lisbon main", "Toronto main", "Singapore main")


def _target(rng: random.Random, company: Company, kind: str) -> tuple[str, str]:
    if kind == "customer":
        customer = rng.choice(company.customers)
        return customer, f"Customer {customer[-5:]}"
    if kind in {"employee", "mailbox"}:
        person = rng.choice(company.people)
        return person.email, person.name
    if kind == "door":
        door = rng.choice(_DOORS)
        return door.lower().replace(" ", "-"), door
    number = rng.randint(1, 9_999)
    return f"{kind}-{number}", f"{kind.replace('_', ' ').capitalize()} {number}"


def _changes(rng: random.Random, verb: str) -> dict[str, Any]:
    if not verb.endswith((".update", ".grant", ".approve")):
        return {}
    before, after = rng.sample(["draft", "active", "paused", "closed", "pending", "approved"], 2)
    old = rng.randint(10, 900)
    return {"before": {"status": before, "limit": old}, "after": {"status": after, "limit": old + rng.randint(1, 400)}}


def _poisson(rng: random.Random, mean: float) -> int:
    """Knuth's method; the means here are small."""
    limit, count, product = pow(2.718281828, -min(mean, 60.0)), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
