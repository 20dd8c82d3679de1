"""The company: people with offices, devices and addresses, and some forty systems they use. Pure; made from a seed.

Addresses outside the company come from the documentation ranges (RFC 5737, RFC 3849), inside from RFC 1918, so that
nothing here can be mistaken for somebody real.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["OFFICES", "SYSTEMS", "Company", "Office", "Person", "System", "make_company"]

DOMAIN: Final = "larkfield.example"

_FIRST = [
    "Anna",
    "Ben",
    "Chloe",
    "David",
    "Elena",
    "Farid",
    "Grace",
    "Hiro",
    "Ines",
    "Jonas",
    "Katja",
    "Liam",
    "Maria",
    "Noah",
    "Olivia",
    "Pavel",
    "Quinn",
    "Rosa",
    "Samir",
    "Tara",
    "Uma",
    "Viktor",
    "Wanda",
    "Xavier",
    "Yara",
    "Zoe",
    "Aisha",
    "Bruno",
    "Carla",
    "Dmitri",
    "Emre",
    "Fatima",
    "Goran",
    "Hanna",
    "Igor",
    "Julia",
    "Kofi",
    "Lena",
    "Mateo",
    "Nadia",
    "Oskar",
    "Priya",
    "Rafael",
    "Sofia",
    "Tomas",
    "Ulrike",
    "Vera",
    "Wei",
    "Ximena",
    "Yusuf",
]
_LAST = [
    "Adler",
    "Baptiste",
    "Costa",
    "Dahl",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ibrahim",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quiroga",
    "Ruiz",
    "Schmidt",
    "Tanaka",
    "Ueda",
    "Varga",
    "Weber",
    "Xu",
    "Yilmaz",
    "Zhang",
    "Abebe",
    "Bianchi",
    "Chen",
    "Dubois",
    "Evans",
    "Ferrari",
    "Gruber",
    "Hansen",
    "Ito",
    "Jansen",
    "Kim",
    "Lopez",
    "Meyer",
    "Novak",
    "Olsen",
    "Park",
    "Rossi",
    "Silva",
    "Turner",
    "Vogel",
    "Walsh",
    "Young",
    "Zimmer",
    "Kaya",
]
_TEAMS = {
    "engineering": 82, "support": 54, "sales": 48, "operations": 30, "finance": 24, "product": 18, "marketing": 16,
    "people": 12, "security": 8, "legal": 5, "management": 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Office:
    """A place with one public address and a clock. `utc_offset_h` is its winter time."""

    name: str
    country: str
    public_ip: str
    network: str
    utc_offset_h: int


OFFICES: Final = (
    Office("Zurich", "CH", "198.51.100.17", "10.20", 1),
    Office("Lisbon", "PT", "198.51.100.81", "10.30", 0),
    Office("Toronto", "CA", "198.51.100.145", "10.40", -5),
    Office("Singapore", "SG", "198.51.100.209", "10.50", 8),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One employee."""

    login: str
    name: str
    email: str
    team: str
    office: Office
    ip: str
    home_ip: str
    device: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class System:
    """One system that sends: `shape` is how its events look, `door` how they come, `weight` how much it speaks.

    `rhythm_s` is how often it should be heard in business hours; `teams` who uses it (empty: machines).
    """

    id: str
    title: str
    shape: str
    door: str
    weight: int
    teams: tuple[str, ...] = ()
    host: str = ""


_ALL = tuple(_TEAMS)
SYSTEMS: Final = (
    System("okta", "Okta", "okta", "http", 70, _ALL),
    System("github", "GitHub", "github", "http", 40, ("engineering", "product", "security")),
    System("aws-cloudtrail", "AWS CloudTrail", "cloudtrail", "http", 90, ("engineering", "operations")),
    System("crm", "Customer records", "sdk", "http", 120, ("sales", "support", "marketing")),
    System("helpdesk", "Helpdesk", "sdk", "http", 100, ("support",)),
    System("billing", "Billing", "sdk", "http", 60, ("finance", "support")),
    System("payroll", "Payroll", "sdk", "http", 12, ("finance", "people")),
    System("people-portal", "People portal", "sdk", "http", 25, _ALL),
    System("ledger-books", "Accounting", "sdk", "http", 20, ("finance",)),
    System("contracts", "Contract archive", "sdk", "http", 14, ("legal", "sales", "management")),
    System("wiki", "Wiki", "sdk", "http", 60, _ALL),
    System("files", "File share", "sdk", "http", 80, _ALL),
    System("shop-admin", "Shop administration", "sdk", "http", 50, ("operations", "marketing", "support")),
    System("shop-api", "Shop API", "otlp", "otlp", 34),
    System("payments", "Payments service", "otlp", "otlp", 26),
    System("stock", "Stock service", "otlp", "otlp", 18),
    System("identity-sync", "Identity synchronisation", "otlp", "otlp", 4),
    System("recommender", "Recommendations", "otlp", "otlp", 10),
    System("feature-flags", "Feature flags", "sdk", "http", 12, ("engineering", "product")),
    System("deployer", "Deployment", "sdk", "http", 18, ("engineering",)),
    System("ci", "Continuous integration", "sdk", "http", 35, ("engineering",)),
    System("secrets-store", "Secrets store", "sdk", "http", 30, ("engineering", "operations", "security")),
    System("vpn", "VPN gateway", "sdk", "http", 45, _ALL),
    System("door-badges", "Door badges", "sdk", "http", 40, _ALL),
    System("print-service", "Printing", "sdk", "http", 10, _ALL),
    System("mail-gateway", "Mail gateway", "sdk", "http", 60, _ALL),
    System("data-warehouse", "Data warehouse", "sdk", "http", 30, ("engineering", "product", "finance")),
    System("bi", "Reports and dashboards", "sdk", "http", 30, ("management", "finance", "sales", "product")),
    System("survey", "Customer surveys", "sdk", "http", 8, ("marketing", "product")),
    System("backup", "Backups", "sdk", "http", 6, ()),
    System("device-management", "Device management", "sdk", "http", 15, ("operations", "security")),
    System("incident-desk", "Incident desk", "sdk", "http", 8, ("security", "operations")),
    System("bastion", "Bastion host", "ssh", "syslog", 30, ("engineering", "operations"), "bastion-1"),
    System("web-1", "Web server 1", "nginx", "syslog", 24, (), "web-1"),
    System("web-2", "Web server 2", "nginx", "syslog", 24, (), "web-2"),
    System("db-main", "Main database host", "ssh", "syslog", 10, ("engineering", "operations"), "db-main"),
    System("db-replica", "Replica database host", "ssh", "syslog", 6, ("operations",), "db-replica"),
    System("build-host", "Build host", "sudo", "syslog", 12, ("engineering",), "build-3"),
    System("mail-host", "Mail host", "sudo", "syslog", 6, ("operations",), "mail-1"),
    System("firewall", "Firewall", "firewall", "syslog", 12, (), "fw-zrh"),
    System("switch", "Core switch", "firewall", "syslog", 2, (), "sw-core"),
)

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
)


@dataclass(frozen=True, slots=True)
class Company:
    """Everybody and everything."""

    people: tuple[Person, ...]
    by_team: dict[str, tuple[Person, ...]]
    customers: tuple[str, ...]

    def staff_of(self, system: System) -> tuple[Person, ...]:
        """The people who use a system."""
        return tuple(person for team in system.teams for person in self.by_team[team])


def make_company(seed: int = 1) -> Company:
    """300 people; the same seed makes the same company."""
    rng = random.Random(seed)
    pairs = [(first, last) for first in _FIRST for last in _LAST]
    rng.shuffle(pairs)
    teams = [team for team, count in _TEAMS.items() for _ in range(count)]
    taken: set[str] = set()
    people = tuple(
        _person(rng, number, pair, team, taken) for number, (pair, team) in enumerate(zip(pairs, teams, strict=False))
    )
    by_team = {team: tuple(p for p in people if p.team == team) for team in _TEAMS}
    return Company(people, by_team, tuple(f"cus_{rng.getrandbits(48):012x}" for _ in range(4_000)))


def _person(rng: random.Random, number: int, pair: tuple[str, str], team: str, taken: set[str]) -> Person:
    first, last = pair
    office = rng.choices(OFFICES, weights=(5, 3, 3, 2))[0]
    login = f"{first[0]}.{last}".lower()
    while login in taken:  # the second X. Vogel is x.vogel2
        login = f"{first[0]}.{last}".lower() + str(int(login[len(first[0]) + len(last) + 1 :] or "1") + 1)
    taken.add(login)
    return Person(
        login=login,
        name=f"{first} {last}",
        email=f"{first}.{last}@{DOMAIN}".lower(),
        team=team,
        office=office,
        ip=f"{office.network}.{rng.randint(1, 14)}.{rng.randint(2, 250)}",
        # A range that belongs to nobody and is wide enough (RFC 2544): neighbours at home are not colleagues.
        home_ip=f"198.18.{number % 250}.{rng.randint(1, 99)}",
        device=f"LF-{rng.choice('NMX')}{number:04d}",
        user_agent=rng.choice(_AGENTS),
    )
